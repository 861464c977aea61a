"""Run llama.cpp: the only folder that imports it. It runs in the worker process, and the kernel imports none of it."""
