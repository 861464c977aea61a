"""The question of each row: a template over the row's columns, or a prompt that is there already."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from ..errors import PhiError
from ..reply import Prompt
from ..sampling import scalar
from ..settings import SEED_MAX, Settings, checked

#: A prompt with its options; an error stands in the place of a prompt that cannot be made.
PromptWithOptions: TypeAlias = "tuple[Prompt | PhiError, Mapping[str, Any]]"


_MOST = 100_000  # answers to one prompt


def questions(prompts: Iterable[Any], options: Mapping[str, Any]) -> list[PromptWithOptions]:
    """Questions from prompts, each with the options; a list of seeds has one for each prompt.

    Raises:
        PhiError: the prompts are one text or a table, or the seeds are not as many as the prompts.
    """
    if isinstance(prompts, str | bytes | Mapping):
        raise PhiError(f"a map takes a list of prompts, and got one {type(prompts).__name__}: put it in a list")
    if hasattr(prompts, "columns"):
        raise PhiError("a map takes a list of prompts, and got a table: give one of its columns, or use %%phi_map")
    if not isinstance(prompts, Iterable):
        raise PhiError(f"a map takes a list of prompts, not {prompts!r:.40}")
    listed = list(prompts)
    seeds = options.get("seed")
    if not isinstance(seeds, Iterable) or isinstance(seeds, str):
        return [(prompt, options) for prompt in listed]
    seeds = list(seeds)
    if len(seeds) != len(listed):
        raise PhiError(f"there are {len(seeds):,} seeds for {len(listed):,} prompts: give one for each")
    return [(prompt, {**options, "seed": seed}) for prompt, seed in zip(listed, seeds, strict=True)]


def repeated(count: int, options: Mapping[str, Any], seed: int | None) -> dict[str, Any]:
    """The options of ``count`` answers to one prompt: a seed for each, counted from the one that is set.

    Args:
        seed: what holds where the options have none.

    Raises:
        PhiError: ``count`` is no number of answers.
    """
    number: Any = scalar(count)
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= _MOST:
        raise PhiError(f"n is how many answers to give, from 1 to {_MOST:,}, not {count!r:.60}")
    first = options.get("seed", seed)
    if first is None:  # nobody can ask for these answers again: they are not kept
        return {**options, "seed": [secrets.randbelow(SEED_MAX + 1) for _ in range(count)], "cache": False}
    first = checked(Settings.seed, first)
    return {**options, "seed": [(first + number) % (SEED_MAX + 1) for number in range(count)]}
