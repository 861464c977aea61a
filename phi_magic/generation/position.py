"""Where an answer stands: the logits for its next token, kept to be looked at from every side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..engine.answer import Ask, load, prompt_tokens
from ..engine.engine import Engine
from ..errors import PhiError
from ..interrupt import Stop
from ..reply import Reply

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Position:
    """The scores after a prompt and ``generated``."""

    generated: tuple[int, ...]
    logits: NDArray[np.float32]  #: shape ``(n_vocab,)``, a copy
    names: Sequence[str]  #: of all tokens, as :attr:`phi_magic.reply.Alternative.text` has them
    ends: frozenset[int]  #: tokens that end an answer


def look(
    engine: Engine,
    ask: Ask,
    reply: Reply,
    stop: Stop,
    *,
    before: Position | None = None,
    on_status: Callable[[str], None] = lambda _: None,
) -> Position:
    """Where an answer stands that began with ``ask.begin``; what the engine has read of it already is not read again.

    Args:
        reply: its figures of loading are filled in.
        before: an earlier position with the same model, whose names are taken over.

    Raises:
        PhiError: the model cannot be had, or prompt and answer fill the context.
        Interrupted: ``stop`` was set.
    """
    with engine.turn(
        stop=stop, keep_alive=ask.keep_alive, on_wait=lambda: on_status("waiting for another answer to end")
    ):
        load(engine, ask, reply, stop, on_status=on_status)
        model, context = engine.loaded
        prompt, limit = prompt_tokens(model, ask, reply)
        if len(ask.begin) >= limit:
            raise PhiError(f"the answer has {len(ask.begin)} tokens and may have {limit}: raise max_tokens or n_ctx")
        engine.check_room(len(prompt) + limit)
        context.follow(prompt, ask.begin, room=len(prompt) + limit, stop=stop)
        return Position(
            ask.begin,
            context.logits.copy(),
            before.names if before else [model.name(token) for token in range(model.n_vocab)],
            before.ends if before else frozenset(token for token in range(model.n_vocab) if model.ends(token)),
        )
