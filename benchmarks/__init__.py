"""How fast and how large: ours beside the ways there are, in one run, on one machine. ``make bench``."""
