"""OpenAI-compatible servers as a backend: a larger model elsewhere, asked by the same requests."""
