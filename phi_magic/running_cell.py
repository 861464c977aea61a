"""Find out which cell of a notebook runs."""

from __future__ import annotations

from typing import Any, TypedDict


class Asking(TypedDict):
    """The cell that runs and which run of it this is; None where the front end names none, or outside of a kernel."""

    cell: str | None
    run: str | None


def request(shell: Any) -> dict[str, Any]:
    """Return the message by which a front end had the current cell run; an empty one outside of a kernel."""
    found: dict[str, Any] = shell.get_parent() if hasattr(shell, "get_parent") else {}
    return found or {}


def asking(shell: Any) -> Asking:
    """Return the cell that runs and which run of it this is, for :meth:`Conversation.stream`."""
    message = request(shell)
    cell = (message.get("metadata") or {}).get("cellId")
    return {"cell": str(cell) if cell else None, "run": message.get("header", {}).get("msg_id")}
