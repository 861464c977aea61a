"""What an answer is published as, in each format: MIME types to text."""

from __future__ import annotations


def bundle(text: str, form: str = "markdown", *, whole: bool = True) -> dict[str, str]:
    """The display data of an answer's text.

    Front ends choose the richest type they know; all of them are safe to show (see :mod:`phi_magic.rendering`).
    ``text/plain`` is the answer itself, to the letter, but for characters that would steer a terminal.

    Args:
        form: one of the ``format`` trait's values.
        whole: false while the answer is still growing: what only a saved notebook needs is left out.
    """
    from .rendering import to_html, to_markdown, to_text

    plain = {"text/plain": to_text(text)}
    if form == "text":
        return plain
    if not whole:
        return {"text/html": to_html(text), **plain}
    return {"text/html": to_html(text), "text/markdown": to_markdown(text), **plain}
