"""The keyword options of a question, for editors and type checkers; a test holds them to the traits and to ``Phi``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from .generation.plan import Plan
    from .reply import Token


class Options(TypedDict, total=False):
    """Any trait of :class:`phi_magic.Phi` by its name, and what one question alone can have."""

    model: str
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repeat_penalty: float
    repeat_last_n: int
    seed: Any  #: a whole number; for a map also one for each prompt
    max_tokens: int
    max_reasoning: int
    stop: Sequence[str]
    system: str
    format: str
    n_ctx: int
    n_threads: int
    n_gpu_layers: int
    profile: str
    exact: bool
    keep_alive: float
    cache: bool | str
    in_flight: int
    refresh_interval: float
    show_stats: bool
    # of one question
    raw: bool
    begin: Sequence[int]
    known: Sequence[Token]
    top_logprobs: int
    continues: bool
    plan: Plan | None
    identify: bool
    schema: Any
    choices: Sequence[str] | None
    given: str | None
    now: str
    ends_after: int
