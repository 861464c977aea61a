"""Evaluate a text that the model did not write: all its tokens at once, as a prompt is evaluated.

The passes are those of a prompt, which is many times as fast as decoding. Their sums may round differently from those of
passes over one token: a log-probability agrees with a decoded one to about three digits, and is the same in every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

from ..errors import PhiError
from ..generation.backend import Event, OnStatus, ignore_status
from ..generation.request import GenerationRequest
from ..interrupt import Interrupted, Stop
from .answer import read_prompt, rendered, started
from .runtime import Runtime
from .writer import Writer


def evaluate(
    runtime: Runtime,
    request: GenerationRequest,
    stop: Stop,
    *,
    index: int = 0,
    on_status: OnStatus = ignore_status,
) -> Iterator[Event]:
    """Give the tokens of ``request.given`` the records that an answer's have, in order.

    Raises:
        PhiError: the model cannot be had, or prompt and text are longer than the context.
        Interrupted: ``stop`` was set before the first token.
    """
    clock, began = runtime.clock, runtime.clock()
    runtime.load(request.model, stop, on_status=on_status)
    loaded = clock()
    model, context = runtime.loaded
    text = request.given or ""
    with runtime.bound("cutting the text into tokens"):
        given = model.tokens_after(rendered(runtime, model, request).text, text)
    if not given:
        raise PhiError("there is nothing to evaluate: the text is empty")
    told = replace(request, begin=tuple(given), stop=(), schema=None, max_tokens=len(given))
    prompt, limit = read_prompt(runtime, model, told)
    if limit < len(given):
        room = len(prompt) + len(given)
        raise PhiError(f"prompt and text have {room} tokens, the context {len(prompt) + limit}: raise n_ctx")
    runtime.check_room(len(prompt) + limit)
    cached, rows = context.rows_after(prompt.tokens, given, stop=stop)
    with closing(Writer(model, told, limit=limit, index=index, clock=clock)) as writer:
        try:
            for at, row in enumerate(rows):
                if not at:
                    load, seconds = loaded - began, clock() - loaded
                    room = len(prompt) + limit
                    yield started(
                        runtime, prompt, room, index, cached=cached, load=load, seconds=seconds, passes="given"
                    )
                if step := writer.step(row):
                    yield step
                if writer.finish_reason:
                    break
        except Interrupted:
            if not writer.token >= 0:
                raise
        yield writer.finish()
