"""The answers that were recorded: those of this session, and those of a saved notebook.

A record is what :meth:`phi_magic.reply.Reply.to_dict` returns: the prompt as it was sent, the conversation before it,
every setting, the seed, the model with its file's hash, and the plan that it ran by. A notebook carries it in each
output's metadata, and the text beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import PhiError
from .paths import read_text, show_path
from .reply import Reply


@dataclass(frozen=True)
class Recorded:
    """An answer that was recorded: where it stands, what it was made with, and its text.

    ``exact`` is false for the text of a notebook's output, in which control characters were made visible. ``foreign`` is
    true for a file's record, which anybody may have written.
    """

    where: str
    record: Mapping[str, Any]
    text: str
    exact: bool = True
    foreign: bool = False

    @classmethod
    def of(cls, reply: Reply, where: str) -> Recorded:
        return cls(where, reply.to_dict(), reply.text)


def recorded_in(path: Path) -> list[Recorded]:
    """Every answer that a saved notebook records, in its order.

    Raises:
        PhiError: the file is no notebook of format 4, or no answer is recorded in it.
    """
    try:
        notebook = json.loads(read_text(path))
        cells = notebook["cells"]
        found = [answer for number, cell in enumerate(cells, 1) for answer in _in_cell(cell, f"cell {number}")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise PhiError(f"{show_path(path)}: is no notebook that Jupyter saved (format 4)") from error
    if not found:
        raise PhiError(f"{show_path(path)}: no answer is recorded in it; run it, and save it with its outputs")
    return found


def _in_cell(cell: Mapping[str, Any], where: str) -> Iterator[Recorded]:
    found = []
    for output in cell.get("outputs", []):
        record = output.get("metadata", {}).get("phi_magic")
        if isinstance(record, Mapping) and "replies" in record:  # a sweep: many answers in one output
            found += [(reply, str(reply.get("text", "")), True) for reply in record["replies"]]
        elif isinstance(record, Mapping):
            plain = output.get("data", {}).get("text/plain", "")
            found.append((record, "".join(plain), False))
    for number, (record, text, exact) in enumerate(found, 1):
        yield Recorded(f"{where}, answer {number}" if len(found) > 1 else where, record, text, exact, foreign=True)
