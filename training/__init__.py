"""How the shipped model is made: a grammar writes its corpus, JAX trains it, and a GGUF comes out."""
