"""Write the ``%%phi`` cell that gives an answer again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from .options import ASKING
from .reply import Reply


def cell_for(reply: Reply, implied: Mapping[str, Any], body: str | None = None) -> str:
    """Return the cell that asks the question of ``reply`` again, with its settings and seed.

    An answer to a raw prompt has no such cell, since IPython adds a line break to the end of a cell's body. A system
    message of several lines does not fit the options' line, so a cell above sets it.

    Args:
        implied: values of traits that the line may leave out, because the reader has the same ones.
        body: the cell's body where it is not the prompt to the letter, as with ``{{ }}`` in it.
    """
    values = {**reply.params, "model": reply.model, "seed": reply.seed}
    words, first = ["%%phi"], ""
    for option in ASKING:
        name = option.trait
        if not name or name not in values or (name != "seed" and values[name] == implied.get(name)):
            continue
        if name == "system" and "\n" in values[name]:
            first = f"%config Phi.system = {values[name]!r}\n\n"
            continue
        flag = min(option.flags, key=len)
        for value in values[name] if isinstance(values[name], list) else [values[name]]:
            text = str(value).replace("\n", "\\n").replace("\t", "\\t") if name == "stop" else str(value)
            words += [flag, shlex.quote(text)]
    if body is None:
        body = reply.prompt
        if "{{" in body or "{%" in body or "{#" in body:
            words.append("--no-vars")
    return f"{first}{' '.join(words)}\n{body}"
