"""One answer, from the question to the last piece: the path that the magic, the panel and the terminal share."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

from .engine.decode import Writer
from .engine.engine import Engine
from .engine.model import Model
from .engine.plan import Plan
from .errors import PhiError
from .gguf import Header
from .identity import Identity
from .interrupt import Interrupted, Stop
from .models import ModelFile
from .prompt import Rendered, render
from .reply import Message, Reply
from .sampling import Sampling

Clock = Callable[[], float]


@dataclass
class Ask:
    """What is asked of the engine; the texts are ready, the numbers within their bounds."""

    find: Callable[[], ModelFile]  #: may download it
    plan: Callable[[Header], Plan]  #: how to run it on this machine
    messages: list[Message]
    knobs: Sampling
    max_tokens: int
    stop_strings: list[str]
    n_ctx: int
    raw: bool = False
    begin: tuple[int, ...] = ()  #: token ids that the answer is made to begin with
    top_logprobs: int = 0
    keep_alive: float = -1
    identify: bool = True  #: whether the answer ends only when the model file's hash is known


class Stream(Iterator[str]):
    """An answer while it is written: iterate over it for the pieces of its text.

    ``reply`` grows as it goes, and is whole when the iteration ends. :meth:`stop` may be called from any thread; Ctrl-C
    ends the answer too, with what there is in ``reply``, and is then raised.
    """

    def __init__(self, reply: Reply, pieces: Generator[str, None, None], stop: Stop) -> None:
        self.reply = reply
        self.stopping = stop
        self._pieces = pieces

    def __next__(self) -> str:
        try:
            with self.stopping.holding_interrupts():
                return next(self._pieces)
        except StopIteration:
            if self.stopping.by_signal:
                self.stopping.by_signal = False
                raise KeyboardInterrupt from None
            raise

    def stop(self) -> None:
        """End the answer here; ``finish_reason`` becomes ``interrupted``."""
        self.stopping.set()

    def close(self) -> None:
        """Give the model back to whoever waits for it, though the answer is not at its end."""
        self._pieces.close()


def write(
    engine: Engine,
    ask: Ask,
    reply: Reply,
    stop: Stop,
    *,
    on_status: Callable[[str], None] = lambda _: None,
    clock: Clock = time.perf_counter,
) -> Generator[str, None, None]:
    """Yield the pieces of the answer's text and fill in ``reply``.

    Args:
        on_status: told in a few words what is going on until the first token is there.

    Raises:
        PhiError: the model cannot be had, or the prompt is longer than the context.
    """
    asked = clock()
    identity: Identity | None = None
    try:
        with engine.turn(
            stop=stop, keep_alive=ask.keep_alive, on_wait=lambda: on_status("waiting for another answer to end")
        ):
            with stop.letting_interrupts():
                file = ask.find()
            reply.model_sha256 = file.sha256
            if ask.identify:
                identity = Identity(file)
            started = clock()
            header = engine.inspect(file.path)
            plan = ask.plan(header)
            reply.engine = plan.to_dict()
            model, context = engine.load(
                header, plan, stop=stop, on_progress=_loading(on_status, reply.model, started, clock)
            )
            reply.timings.load = clock() - started
            prompt = _prompt_tokens(model, ask)
            if not all(0 <= token < model.n_vocab for token in ask.begin):
                raise PhiError(f"begin holds token ids outside of the vocabulary of {model.n_vocab}")
            ceiling = min(ask.n_ctx or model.n_ctx_train, model.n_ctx_train)
            if len(prompt) >= ceiling:
                raise PhiError(
                    f"the prompt has {len(prompt)} tokens, the context {ceiling}: shorten the prompt"
                    + (", or raise n_ctx" if ceiling < model.n_ctx_train else "")
                )
            limit = min(ask.max_tokens, ceiling - len(prompt))
            engine.check_room(len(prompt) + limit)
            started = clock()
            reply.usage.prompt_tokens = len(prompt)
            reply.usage.cached_tokens = context.prefill(
                prompt, room=len(prompt) + limit, stop=stop, on_progress=_reading(on_status)
            )
            reply.timings.prompt = clock() - started
            writer = writer_for(model, ask, reply, limit=limit, asked=asked, clock=clock)
            with closing(writer):
                while True:
                    if piece := writer.step(context.logits):
                        yield piece
                    if writer.finished:
                        break
                    stop.check()
                    context.append(writer.token, stop=stop)
        if identity:
            written = clock()
            identity.wait(stop)
            asked += clock() - written  # no part of the answer's time
    except Interrupted:
        reply.finish_reason = "interrupted"
    finally:
        if identity:
            reply.model_sha256 = identity.sha256
        reply.timings.total = clock() - asked


def writer_for(
    model: Model, ask: Ask, reply: Reply, *, limit: int, asked: float, clock: Clock = time.perf_counter
) -> Writer:
    return Writer(
        model,
        reply,
        ask.knobs,
        limit=limit,
        asked=asked,
        clock=clock,
        stop_strings=ask.stop_strings,
        skip_space=not ask.raw,
        begin=ask.begin,
        top_logprobs=ask.top_logprobs,
    )


def _prompt_tokens(model: Model, ask: Ask) -> list[int]:
    if ask.raw:
        rendered = Rendered("".join(message["content"] for message in ask.messages))
    else:
        rendered = render(
            ask.messages,
            template=model.chat_template,
            controls=model.controls,
            bos="" if model.bos is None else model.control_text(model.bos),
            eos="" if model.eos is None else model.control_text(model.eos),
        )
    return model.tokenize(rendered.text, shield=rendered.shield)


def _loading(on_status: Callable[[str], None], name: str, started: float, clock: Clock) -> Callable[[float], None]:
    """Says how far loading is, once it has taken half a second, ten times a second at most."""
    said = started + 0.4

    def progress(fraction: float) -> None:
        nonlocal said
        if (now := clock()) >= said + 0.1:
            said = now
            on_status(f"loading {name}: {fraction:.0%}")

    return progress


def _reading(on_status: Callable[[str], None]) -> Callable[[int, int], None]:
    """Says how far a prompt of several slices is read."""

    def progress(done: int, total: int) -> None:
        if done:
            on_status(f"reading the prompt: {done} of {total} tokens")

    return progress
