"""The scripts and styles of the widgets, which stand beside their modules."""

from pathlib import Path


def front_end(*names: str) -> str:
    """Return the text of these files, one after the other."""
    return "".join((Path(__file__).parent / name).read_text("utf-8") for name in names)
