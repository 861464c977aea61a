"""A grid of answers from one prompt: every combination of the settings that are swept."""

from __future__ import annotations

import itertools
import math
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from typing import Any

from traitlets import Float, Int

from .errors import PhiError
from .keywords import Options
from .rendering.table import Table
from .reply import Prompt, Reply
from .sampling import scalar
from .settings import ANSWER_TRAITS, SEED_MAX, Settings, checked, takes, unknown_option
from .suggestions import did_you_mean

#: The most answers of a grid, unless told.
MOST = 256

_TRAITS = {
    name: trait
    for name, trait in Settings.class_traits(config=True).items()
    if name == "model" or (name in (*ANSWER_TRAITS, "seed") and isinstance(trait, Int | Float))
}
#: What can be swept: the settings that are numbers and shape an answer's text, and the model.
SWEPT = tuple(_TRAITS)

_NUMBER = re.compile(r"[+-]?(\d{1,12}(\.\d{0,12})?|\.\d{1,12})(e[+-]?\d{1,2})?", re.IGNORECASE)
_WIDEST_GRID = 5  # columns of answers that can still be read side by side


@dataclass(frozen=True)
class Grid:
    """The values of each setting that is swept, in the order in which they were written."""

    axes: dict[str, tuple[Any, ...]]

    @property
    def varied(self) -> list[str]:
        return [name for name, values in self.axes.items() if len(values) > 1]

    def __len__(self) -> int:
        return math.prod(map(len, self.axes.values()))

    @property
    def combinations(self) -> list[dict[str, Any]]:
        """Every combination; the last setting varies fastest."""
        return [dict(zip(self.axes, values, strict=True)) for values in itertools.product(*self.axes.values())]


def parse(words: Sequence[str], *, most: int = MOST) -> Grid:
    """A grid from words like ``temperature=0.2,0.8``, ``seed=1:5`` (whole numbers, both ends included) and
    ``top_p=0.5:1:0.1`` (from, to, step).

    Raises:
        PhiError: no such setting, a value out of its bounds, or more than ``most`` combinations.
    """
    axes: dict[str, tuple[Any, ...]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.replace("-", "_")
        if name not in _TRAITS:
            known = ", ".join(SWEPT)
            raise PhiError(f"{name!r} cannot be swept{did_you_mean(name, SWEPT)} (these can: {known})")
        if not equals or not text:
            raise PhiError(f"{name} needs values: {name}=A,B or {name}=FROM:TO or {name}=FROM:TO:STEP")
        if name in axes:
            raise PhiError(f"{name} is there twice; write all its values after one {name}=")
        parts = text.split(",")
        axes[name] = _values(
            name, parts if name == "model" else [n for part in parts for n in _range(name, part, most)]
        )
    if not axes:
        raise PhiError("nothing is swept; write, for example, temperature=0.2,0.8 seed=1:5")
    grid = Grid(axes)
    if len(grid) > most:
        raise PhiError(f"{len(grid):,} answers; at most {most:,}, or more with --max {len(grid)}")
    return grid


def split(options: Mapping[str, Any]) -> tuple[Grid, dict[str, Any]]:
    """Part keyword options into a grid, of those that have several values, and the others.

    Raises:
        PhiError: nothing is swept, or a value is out of its bounds.
    """
    for name in options:
        if name not in Options.__annotations__:
            raise PhiError(unknown_option(name, Options.__annotations__))
    several = {
        name: list(values)
        for name, values in options.items()
        if name in SWEPT and isinstance(scalar(values), Iterable) and not isinstance(values, str)
    }
    if not several or not all(several.values()):
        raise PhiError("nothing is swept; give a setting several values, such as temperature=[0.2, 1.5]")
    others = {name: value for name, value in options.items() if name not in several}
    return Grid({name: _values(name, values) for name, values in several.items()}), others


def _values(name: str, values: Iterable[Any]) -> tuple[Any, ...]:
    """Return the distinct values of a setting, each checked by its trait."""
    return tuple(dict.fromkeys(checked(_TRAITS[name], value) for value in values))


def questions(
    prompt: Prompt, grid: Grid, options: Mapping[str, Any], seed: int | None
) -> list[tuple[Prompt, dict[str, Any]]]:
    """The questions of a grid, for :meth:`phi_magic.Phi.stream_all`: one for each combination.

    The prompt is evaluated once. An answer depends on its settings alone, not on the rest of the grid. A seed that is
    neither swept nor set is drawn once for the whole grid, so that only the swept settings differ; nobody can ask for
    these answers again, so that no cache keeps them.

    Args:
        options: as for :meth:`phi_magic.Phi.stream`.
        seed: what holds where the options have none.

    Raises:
        PhiError: a setting that is swept is among the options.
    """
    for name in grid.axes:
        if name in options:
            raise PhiError(f"{name} is swept, and set by an option too; leave one of them out")
    seeded = "seed" in options or "seed" in grid.axes or seed is not None
    drawn = {} if seeded else {"seed": secrets.randbelow(SEED_MAX + 1), "cache": False}
    return [(prompt, {**options, **drawn, **combination}) for combination in grid.combinations]


@dataclass(frozen=True)
class Sweep:
    """The answers to one prompt with every combination of some settings; a notebook shows them as a table."""

    grid: Grid
    replies: Sequence[Reply]

    def frame(self) -> Any:
        """A pandas DataFrame with a row for each answer, or a list of Replies where pandas is not installed."""
        return frame(self.grid, self.replies)

    def __len__(self) -> int:
        return len(self.replies)

    def __iter__(self) -> Iterator[Reply]:
        return iter(self.replies)

    def __getitem__(self, number: int) -> Reply:
        return self.replies[number]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        return table(self.grid, self.replies).bundle(), {"phi_magic": record(self.replies)}


def table(grid: Grid, replies: Sequence[Reply], status: str = "") -> Table:
    """The answers so far. Two settings make a grid, unless it would be too wide; else each answer has a row.

    The first setting goes down and the second across, as they were written, unless only the other way fits.
    """
    texts = [_shown(reply) for reply in replies]
    varied = grid.varied
    caption = " · ".join(filter(None, [_constants(grid, replies), _progress(replies), status]))
    if len(varied) == 2:
        down, across = varied
        if len(grid.axes[across]) > _WIDEST_GRID:
            down, across = across, down
        if len(grid.axes[across]) <= _WIDEST_GRID:
            return _crossed(grid, down, across, texts, caption)
    rows = [
        [*(_number(combination[name]) for name in varied), text]
        for combination, text in zip(grid.combinations, texts, strict=True)
    ]
    return Table([*varied, "answer"], rows, caption)


def frame(grid: Grid, replies: Sequence[Reply]) -> Any:
    """What ``-o`` binds: a DataFrame of the answers there are, one row each, where pandas is; else a list of Replies."""
    there = [(c, r) for c, r in zip(grid.combinations, replies, strict=True) if r.begun]
    try:
        pandas = import_module("pandas")
    except ImportError:
        return [reply for _, reply in there]
    rows = [
        {**combination, "text": reply.text, "finish_reason": reply.finish_reason}
        | {"completion_tokens": reply.usage.completion_tokens, "reply": reply}
        for combination, reply in there
    ]
    return pandas.DataFrame(rows, columns=[*grid.axes, "text", "finish_reason", "completion_tokens", "reply"])


def record(replies: Sequence[Reply]) -> dict[str, Any]:
    """What a notebook's output carries under the metadata key ``phi_magic``: all that replay needs."""
    return {"replies": [reply.to_dict() for reply in replies if reply.begun]}


def _range(name: str, part: str, most: int) -> list[str]:
    """The numbers that one value or range stands for, exactly as they would be written."""
    numbers = part.strip().split(":")
    if len(numbers) > 3 or not all(_NUMBER.fullmatch(number) for number in numbers):
        raise PhiError(
            f"{name}: {part!r} is no number and no range FROM:TO or FROM:TO:STEP; it must be {takes(_TRAITS[name])}"
        )
    if len(numbers) == 1:
        return numbers
    low, high, *rest = map(Decimal, numbers)
    step = rest[0] if rest else Decimal(1)
    if not rest and (low % 1 or high % 1):
        raise PhiError(f"{name}: {part} needs a step: {part}:0.1")
    if step <= 0 or high < low:
        raise PhiError(f"{name}: {part} holds no value: FROM must be below TO, and STEP above 0")
    count = (high - low) / step + 1
    if count > most:
        raise PhiError(f"{name}: {part} holds {count:,.0f} values; at most {most:,}, or more with --max")
    return [f"{low + step * i:f}" for i in range(int(count))]


def _crossed(grid: Grid, down: str, across: str, texts: Sequence[str], caption: str) -> Table:
    places = {
        (combination[down], combination[across]): text
        for combination, text in zip(grid.combinations, texts, strict=True)
    }
    rows = [[_number(value), *(places[value, other] for other in grid.axes[across])] for value in grid.axes[down]]
    return Table([down, *(f"{across} {_number(value)}" for value in grid.axes[across])], rows, caption)


def _shown(reply: Reply) -> str:
    text = reply.text.strip("\n")
    if not reply.timings.total:  # still being written, or waiting
        text = f"{text} …" if reply.usage.completion_tokens else "…"
    elif reply.finish_reason != "stop":
        text = f"{text} [{reply.finish_reason}]".lstrip()
    return f"({reply.thought()})\n{text.lstrip()}" if reply.reasoning else text


def _progress(replies: Sequence[Reply]) -> str:
    done = sum(bool(reply.timings.total) for reply in replies)
    tokens = sum(reply.usage.completion_tokens for reply in replies)
    count = f"{len(replies)} answer{'s' * (len(replies) != 1)}"
    return f"{count if done == len(replies) else f'{done} of {count}'}, {tokens:,} tokens"


def _constants(grid: Grid, replies: Sequence[Reply]) -> str:
    """Return the settings that all answers share, of those that a reader asks for first."""
    shared = {name: values[0] for name, values in grid.axes.items() if len(values) == 1}
    if "seed" not in grid.axes and replies:
        shared["seed"] = replies[0].seed
    return ", ".join(f"{name} {_number(value)}" for name, value in shared.items())


def _number(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
