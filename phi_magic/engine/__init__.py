"""The only place that knows llama.cpp. The kernel imports nothing of it: it runs in the worker process."""
