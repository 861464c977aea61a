"""What a model says, as something that a notebook or a terminal may show."""

from .characters import to_text
from .html import to_html
from .markdown import to_markdown

__all__ = ["to_html", "to_markdown", "to_text"]
