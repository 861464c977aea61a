"""``Phi``: asking from Python."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from traitlets.config import Configurable

from .errors import PhiError
from .reply import Message, Reply, Token
from .sampling import Sampling
from .settings import ANSWER_TRAITS, SEED_MAX, Settings

if TYPE_CHECKING:
    from .conversation import Conversation
    from .engine.answer import Ask
    from .engine.plan import Plan
    from .generation.position import Position
    from .generation.stream import Stream, StreamAll
    from .gguf.checks import Header
    from .interrupt import Stop


class Phi(Configurable, Settings):
    """A local language model that answers: ``phi("Write a haiku")``.

    Every trait can be set here, with ``%config Phi.…``, in ``ipython_config.py`` as ``c.Phi.…``, or by keyword for one
    call. All of a process's ``Phi`` share one loaded model.
    """

    #: The newest answer, whole or not.
    last: Reply | None = None

    #: The replies of the newest :meth:`map`, whole or not.
    mapped: Sequence[Reply] = ()

    def __call__(self, prompt: str | Sequence[Message], **options: Any) -> Reply:
        """Answer a prompt, and return when the answer is whole.

        Args:
            prompt: a question, or a conversation as a list of messages ending with the user's.
            options: any trait by its name, for this call; ``raw=True`` sends the prompt without the chat template and
                honours special tokens in it.

        Raises:
            PhiError: a wrong option, a model that cannot be had, a prompt longer than the context.
            KeyboardInterrupt: Ctrl-C; the answer so far is :attr:`last`.
        """
        stream = self.stream(prompt, **options)
        stream.run()
        return stream.reply

    def stream(
        self,
        prompt: str | Sequence[Message],
        *,
        on_status: Callable[[str], None] = lambda _: None,
        **options: Any,
    ) -> Stream:
        """Answer a prompt piece by piece: iterate over what this returns; its ``reply`` grows as it goes.

        Nothing is done before the first piece is asked for. The arguments are those of :meth:`__call__`, and:

        Args:
            on_status: told in a few words what is going on until the first token is there.
            begin: token ids that the answer begins with, whatever would have been drawn. The draws are made all the
                same, so that an answer that begins with the tokens of another goes on as that one did.
            known: the first tokens of another reply to the same question with the same settings: the answer begins with
                them, before ``begin``. Their records are taken over, and what the model has read of them stays read.
            top_logprobs: how many of the likeliest tokens to keep for every token of the reply.
            continues: whether another question is likely to follow: what it will begin with is then read meanwhile.
            plan: how to run the model, as a ``Reply`` recorded it; what suits this machine where left out.
            identify: end only when the SHA-256 of the model's file is known, which a file outside of the hub's cache
                takes a second for each GB for, the first time.
            schema: what the answer is held to: a JSON-schema dict, a pydantic model, a dataclass, or the path of a JSON
                file. ``Reply.data`` is the object then, unless the answer was cut.
        """
        from .engine.answer import write
        from .engine.engine import shared
        from .generation.stream import Stream
        from .interrupt import Stop

        ask, reply = self._ask(prompt, **options)
        self.last = reply
        stop = Stop()
        return Stream(reply, write(shared, ask, reply, stop, on_status=on_status), stop)

    def map(self, prompts: Iterable[str | Sequence[Message]], *, progress: bool = True, **options: Any) -> list[Reply]:
        """Answer every prompt; the replies are in the prompts' order.

        Their tokens are decoded together, which takes far less time than one after another. An answer is the same
        whatever else is in the list, but not the one that a single call gives: ``Reply.engine["pass"]`` is ``wide``.
        Without a seed each answer draws its own.

        Args:
            progress: show a bar.
            options: as in :meth:`__call__`.

        Raises:
            PhiError: as in :meth:`__call__`; before any answer is begun.
            KeyboardInterrupt: Ctrl-C; what there is by then is :attr:`mapped`.
        """
        questions = [(prompt, options) for prompt in prompts]
        stream = self.stream_all(questions)
        if not questions:
            return []
        done: set[int] = set()
        with stream.in_order():
            from tqdm.auto import tqdm

            with tqdm(total=len(questions), disable=not progress, unit="answer") as bar:
                for index in stream:
                    if index not in done and stream.replies[index].timings.total:
                        done.add(index)
                        bar.update()
        return stream.replies

    def stream_all(
        self,
        questions: Iterable[tuple[str | Sequence[Message], Mapping[str, Any]]],
        *,
        on_status: Callable[[str], None] = lambda _: None,
    ) -> StreamAll:
        """Answer questions, each with its own options (those of :meth:`stream`), together: iterate over what this
        returns for the numbers of the replies that grew; its ``replies`` are :attr:`mapped` too.
        """
        from .engine.answers import write_all
        from .engine.engine import shared
        from .generation.stream import StreamAll
        from .interrupt import Stop

        pairs = [self._ask(prompt, **options) for prompt, options in questions]
        replies = self.mapped = [reply for _, reply in pairs]
        stop = Stop()
        numbers = write_all(shared, [ask for ask, _ in pairs], replies, stop, on_status=on_status)
        return StreamAll(replies, numbers, stop)

    def _ask(
        self,
        prompt: str | Sequence[Message],
        *,
        raw: bool = False,
        begin: Sequence[int] = (),
        known: Sequence[Token] = (),
        top_logprobs: int = 0,
        continues: bool = False,
        plan: Plan | None = None,
        identify: bool = True,
        schema: Any = None,
        **options: Any,
    ) -> tuple[Ask, Reply]:
        """The question as the engine takes it, and the reply that it will fill in."""
        settings = self.settings(options)
        messages = _messages(prompt, settings["system"], raw)
        begin = (*(token.id for token in known), *begin)
        system = messages[0]["content"] if messages[0]["role"] == "system" and not raw else ""

        from .engine.answer import Ask
        from .models.files import resolve
        from .rendering.token_shading import ALTERNATIVES
        from .schema.structure import read

        structure = None if schema is None else read(schema)
        seed = settings["seed"] if settings["seed"] is not None else secrets.randbelow(SEED_MAX + 1)
        reply = Reply(
            prompt=messages[-1]["content"],
            model=settings["model"],
            params={name: settings[name] for name in ANSWER_TRAITS}
            | {
                "system": system,
                "n_ctx": settings["n_ctx"],
                "exact": settings["exact"],
                "raw": raw,
                "begin": list(begin),
            }
            | ({"schema": structure.text} if structure else {}),
            seed=seed,
            messages=messages[1:-1] if system else messages[:-1],
        )
        ask = Ask(
            find=lambda check: resolve(settings["model"], check=check),
            plan=_chooser(settings) if plan is None else lambda _: plan,
            messages=messages,
            knobs=Sampling(**{name: settings[name] for name in Sampling.class_trait_names()}),
            max_tokens=settings["max_tokens"],
            stop_strings=settings["stop"],
            n_ctx=settings["n_ctx"],
            raw=raw,
            json=settings["format"] == "json",
            structure=structure,
            begin=begin,
            known=tuple(known),
            top_logprobs=top_logprobs or (ALTERNATIVES if settings["format"] == "tokens" else 0),
            exact=settings["exact"],
            continues=continues,
            keep_alive=settings["keep_alive"],
            identify=identify,
        )
        return ask, reply

    def look(
        self,
        prompt: str | Sequence[Message],
        generated: Sequence[int] = (),
        *,
        raw: bool = False,
        before: Position | None = None,
        stop: Stop | None = None,
        on_status: Callable[[str], None] = lambda _: None,
        **options: Any,
    ) -> Position:
        """The logits for the next token of an answer that began with ``generated`` token ids.

        Args:
            before: an earlier position with the same model, whose names of tokens are taken over.
            stop: ends the looking with :class:`~phi_magic.interrupt.Interrupted`.

        Raises:
            PhiError: as in :meth:`__call__`; or ``generated`` leaves no room for another token.
        """
        from .engine.engine import shared
        from .generation.position import look
        from .interrupt import Stop

        ask, reply = self._ask(prompt, raw=raw, begin=generated, identify=False, **options)
        stop = stop or Stop()
        with stop.deferring_interrupts():
            return look(shared, ask, reply, stop, before=before, on_status=on_status)

    def chat(self, name: str = "default") -> Conversation:
        """The conversation of this name, begun or not, asked with these settings: ``phi.chat("trip")("Hello")``.

        Raises:
            PhiError: the name cannot be one.
        """
        from .conversation import Conversation

        return Conversation(name, partial(self.stream, continues=True))

    def load(self, *, on_status: Callable[[str], None] = lambda _: None, **options: Any) -> None:
        """Load the model now rather than with the first question; may download it.

        Args:
            on_status: told in a few words how far it is.
            options: any trait by its name, for this call.

        Raises:
            PhiError: the model cannot be had, or does not fit the memory.
            KeyboardInterrupt: Ctrl-C.
        """
        from .engine.engine import shared
        from .interrupt import Stop
        from .models.files import resolve

        settings = self.settings(options)
        stop = Stop()
        with stop.deferring_interrupts(), shared.turn(stop=stop, keep_alive=settings["keep_alive"]):
            with stop.letting_interrupts():
                file = resolve(settings["model"])
            header = shared.inspect(file.path)
            shared.load(
                header,
                _chooser(settings)(header),
                stop=stop,
                on_progress=lambda done: on_status(f"loading: {done:.0%}"),
            )

    def unload(self) -> None:
        """Free the model, once the answer that is being written is whole."""
        from .engine.engine import shared

        shared.unload()


def _chooser(settings: Mapping[str, Any]) -> Callable[[Header], Plan]:
    """How to run a model of this header with these settings."""
    from .engine.plan import choose

    return partial(choose, **{name: settings[name] for name in ("profile", "n_threads", "n_gpu_layers")})


def _messages(prompt: str | Sequence[Message], system: str, raw: bool) -> list[Message]:
    """The conversation to send: the system message first where there is one, the question last."""
    if isinstance(prompt, str):
        messages: list[Message] = [{"role": "user", "content": prompt}]
    else:
        messages = [{"role": m["role"], "content": m["content"]} for m in prompt]
    if not messages or not messages[-1]["content"].strip():
        raise PhiError("the prompt is empty: write what to ask")
    if not raw and messages[-1]["role"] != "user":
        raise PhiError("a conversation must end with a message of the user")
    if system and not raw and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    return messages
