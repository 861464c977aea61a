"""Reading what a GGUF file says of itself, without llama.cpp."""
