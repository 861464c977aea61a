"""Requests, the backends that answer them, and the streams that a caller reads."""
