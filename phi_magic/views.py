"""The views of a reply in a notebook. The package imports this module, which registers them with ``Reply``."""

from __future__ import annotations

from typing import Any

from .reply import VIEWS, Reply


def _tokens(reply: Reply) -> None:
    from .widgets.token_view import show

    show(reply)


def _explorer(reply: Reply) -> None:
    from .widgets.explorer import show

    show(reply)


def _markdown(reply: Reply) -> dict[str, Any]:
    from .rendering.formats import bundle, with_thoughts

    return with_thoughts(bundle(reply.text), reply.reasoning, reply.thought())


VIEWS.update(tokens=_tokens, explorer=_explorer, markdown=_markdown)
