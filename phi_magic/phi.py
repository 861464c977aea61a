"""``Phi``: asking from Python."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from traitlets.config import Configurable

from .errors import PhiError, RowsRefused
from .reply import Message, Reply, Token
from .sampling import Sampling
from .settings import ANSWER_TRAITS, SEED_MAX, Settings

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from typing_extensions import Unpack

    from .conversation import Conversation
    from .generation.backend import Backend, ModelInfo, TokenText
    from .generation.plan import Plan
    from .generation.position import Position
    from .generation.request import ModelReference
    from .generation.stream import Question, Stream, StreamAll
    from .interrupt import Stop
    from .keywords import Options
    from .sweep import Sweep

_LONGEST_PROMPT = 20_000_000  # characters; a context of a million tokens takes about a fifth of it


class Phi(Configurable, Settings):
    """A local language model that answers: ``phi("Write a haiku")``.

    Every trait can be set here, with ``%config Phi.…``, in ``ipython_config.py`` as ``c.Phi.…``, or by keyword for one
    call. All of a process's ``Phi`` share one worker process, and so one loaded model.
    """

    #: The newest answer, whole or not.
    last: Reply | None = None

    #: The replies of the newest :meth:`map`, whole or not.
    mapped: Sequence[Reply] = ()

    #: What answers; where it is None, the worker process that all share, or the server that the model's name names.
    backend: Backend | None = None

    @overload
    def __call__(self, prompt: str | Sequence[Message], *, n: None = None, **options: Unpack[Options]) -> Reply: ...

    @overload
    def __call__(self, prompt: str | Sequence[Message], *, n: int, **options: Unpack[Options]) -> list[Reply]: ...

    def __call__(
        self, prompt: str | Sequence[Message], *, n: int | None = None, **options: Unpack[Options]
    ) -> Reply | list[Reply]:
        """Answer a prompt, and return when the answer is whole.

        Args:
            prompt: a question, or a conversation as a list of messages ending with the user's.
            n: how many answers, written together as :meth:`map` does. With a seed, the seeds are ``seed``,
                ``seed + 1`` and so on; without one each answer draws its own.
            options: any trait by its name, for this call; ``raw=True`` sends the prompt without the chat template and
                honours special tokens in it. The others are those of :meth:`stream`.

        Returns:
            the answer, or a list of ``n`` answers where ``n`` is given.

        Raises:
            PhiError: a wrong option, a model that cannot be had, a prompt longer than the context.
            KeyboardInterrupt: Ctrl-C; the answer so far is :attr:`last`, or the answers :attr:`mapped`.
        """
        if n is not None:
            from .tables.prompts import repeated

            seeded = repeated(n, options, self.seed)
            return self.map([prompt] * n, progress=False, **seeded)
        stream = self.stream(prompt, **options)
        stream.run()
        return stream.reply

    def stream(
        self,
        prompt: str | Sequence[Message],
        *,
        on_status: Callable[[str], None] = lambda _: None,
        **options: Unpack[Options],
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
            now: the date and time, in ISO 8601, for a chat template that writes them into the prompt; the present where
                left out.
            identify: end only when the SHA-256 of the model's file is known, which a file outside of the hub's cache
                takes a second for each GB for, the first time.
            schema: what the answer is held to: a JSON-schema dict, a pydantic model, a dataclass, or the path of a JSON
                file. ``Reply.data`` is the object then, unless the answer was cut.
            choices: texts of which the answer is one, two at least. Nothing is decoded: ``Reply.choices`` has the
                probability of each as the whole answer, and ``Reply.text`` is drawn from these.
        """
        from .generation.stream import Stream

        question = self._ask(prompt, **options)
        self.last = question.reply
        return Stream(question, self._backend(question.request.model, cache=question.cache), on_status=on_status)

    def map(
        self,
        prompts: Iterable[str | Sequence[Message]],
        *,
        progress: bool = True,
        on_error: str = "stop",
        executor: Executor | None = None,
        **options: Unpack[Options],
    ) -> list[Reply]:
        """Answer every prompt; the replies are in the prompts' order.

        Their tokens are decoded together, which takes far less time than one after another. An answer is the same
        whatever else is in the list, but not the one that a single call gives: ``Reply.engine["pass"]`` is ``wide``.
        Without a seed each answer draws its own.

        Args:
            progress: show a bar.
            on_error: ``stop`` refuses the whole map where prompts cannot be asked; ``keep`` answers the others, and
                records each error in its reply.
            executor: any ``concurrent.futures.Executor``: its processes, on this machine or on a cluster, answer the
                prompts. The texts are those of this machine, where the machines are of the same kind.
            options: as in :meth:`stream`; ``seed`` may be a list with a seed for each prompt.

        Raises:
            PhiError: as in :meth:`__call__`; before any answer is begun. It names all prompts that cannot be asked.
            KeyboardInterrupt: Ctrl-C; what there is by then is :attr:`mapped`.
        """
        from .tables.bar import run
        from .tables.prompts import questions

        stream = self.stream_all(questions(prompts, options), on_error=on_error, executor=executor)
        if stream.replies:
            run(stream, shown=progress)
        return stream.replies

    def sweep(self, prompt: str | Sequence[Message], *, progress: bool = True, **options: Any) -> Sweep:
        """Answer a prompt with every combination of some settings: ``phi.sweep("…", temperature=[0.2, 1.5])``.

        Args:
            progress: show a bar.
            options: as in :meth:`stream`; a setting that is a number, and the model, may have several values. A seed
                that is neither swept nor set is drawn once for all answers.

        Returns:
            the answers, which a notebook shows as a table; ``frame()`` makes a DataFrame of them.

        Raises:
            PhiError: as in :meth:`map`; or nothing is swept.
            KeyboardInterrupt: Ctrl-C; what there is by then is :attr:`mapped`.
        """
        from .sweep import Sweep, questions, split
        from .tables.bar import run

        grid, others = split(options)
        stream = self.stream_all(questions(prompt, grid, others, self.seed))
        run(stream, shown=progress)
        return Sweep(grid, stream.replies)

    def stream_all(
        self,
        questions: Iterable[tuple[str | Sequence[Message] | PhiError, Mapping[str, Any]]],
        *,
        on_status: Callable[[str], None] = lambda _: None,
        on_error: str = "stop",
        executor: Executor | None = None,
    ) -> StreamAll:
        """Answer questions, each with its own options (those of :meth:`stream`), together: iterate over what this
        returns for the numbers of the replies that grew; its ``replies`` are :attr:`mapped` too.

        Args:
            questions: prompts with their options; an error stands in the place of a prompt that could not be made.
            on_status: told in a few words what is going on until the first token is there.
            on_error: ``stop`` raises for all questions that cannot be asked, before anything is computed; ``keep``
                records each error in its reply, and answers the others.
            executor: as in :meth:`map`.
        """
        from .generation.stream import StreamAll

        if on_error not in ("stop", "keep"):
            raise PhiError(f"on_error is stop or keep, not {on_error!r}")
        asked = [self._ask_or_refuse(prompt, options) for prompt, options in questions]
        refused = {number: question.reply.error for number, question in enumerate(asked) if question.reply.error}
        if refused and on_error == "stop":
            raise RowsRefused(refused, len(asked))
        stream = StreamAll(
            asked,
            self._backend(
                *(one.request.model for one in asked),
                executor=executor,
                cache=next((one.cache for one in asked), ""),
            ),
            keep_errors=on_error == "keep",
            on_status=on_status,
        )
        self.mapped = stream.replies
        return stream

    def _ask_or_refuse(self, prompt: str | Sequence[Message] | PhiError, options: Mapping[str, Any]) -> Question:
        """As :meth:`_ask`; where the prompt cannot be asked, the reply says why. A wrong option raises."""
        try:
            if isinstance(prompt, PhiError):
                raise prompt
            return self._ask(prompt, True, **options)
        except PhiError as error:
            question = self._ask("-", **options)
            reply = question.reply
            reply.prompt, reply.finish_reason, reply.error = "", "error", str(error)
            return question

    def _ask(
        self,
        prompt: str | Sequence[Message],
        many: bool = False,
        /,
        *,
        raw: bool = False,
        begin: Sequence[int] = (),
        known: Sequence[Token] = (),
        top_logprobs: int = 0,
        continues: bool = False,
        plan: Plan | None = None,
        identify: bool = True,
        schema: Any = None,
        choices: Sequence[str] | None = None,
        given: str | None = None,
        now: str = "",
        **options: Any,
    ) -> Question:
        """The question as a backend takes it, and the reply that it will fill in.

        Args:
            many: whether it is one of many: with a cache and without a seed, its seed comes from its messages.
        """
        settings = self.settings(options)
        messages = _messages(prompt, settings["system"], raw, alone=raw and given is not None)
        begin = (*(token.id for token in known), *begin)
        system = messages[0]["content"] if messages[0]["role"] == "system" and not raw else ""

        from .generation.request import ChatMessage, GenerationRequest, SamplingParameters
        from .generation.stream import Question
        from .rendering.token_shading import ALTERNATIVES
        from .schema.structure import read

        structure = None if schema is None else read(schema)
        offered = () if choices is None else _choices(choices, together=schema is not None or bool(begin))
        seed, cache = settings["seed"], settings["cache"]
        if seed is None:
            derived = many and cache
            seed = _derived(messages) if derived else secrets.randbelow(SEED_MAX + 1)
            cache = cache if derived else ""  # an answer that nobody can ask for again is not kept
        reply = Reply(
            prompt=messages[-1]["content"],
            model=settings["model"],
            params={name: settings[name] for name in ANSWER_TRAITS}
            | {
                "stop": list(settings["stop"]),
                "system": system,
                "n_ctx": settings["n_ctx"],
                "exact": settings["exact"],
                "raw": raw,
                "begin": list(begin),
            }
            | ({"schema": structure.text} if structure else {})
            | ({"choices": list(offered)} if offered else {})
            | ({"given": given} if given is not None else {}),
            seed=seed,
            messages=messages[1:-1] if system else messages[:-1],
        )
        request = GenerationRequest(
            model=_reference(settings, plan),
            messages=tuple(ChatMessage(message["role"], message["content"]) for message in messages),
            sampling=SamplingParameters(**{name: settings[name] for name in Sampling.class_trait_names()}),
            seed=seed,
            max_tokens=settings["max_tokens"],
            max_reasoning=settings["max_reasoning"],
            stop=tuple(settings["stop"]),
            n_ctx=settings["n_ctx"],
            exact=settings["exact"],
            raw=raw,
            schema=structure.text if structure else None,
            choices=offered,
            given=given,
            now=now,
            begin=begin,
            top_logprobs=top_logprobs or (ALTERNATIVES if settings["format"] == "tokens" else 0),
            known=tuple(known),
            continues=continues,
            identify=identify,
        )
        return Question(request, reply, structure, settings["format"] == "json", cache)

    def _backend(self, *models: ModelReference, executor: Executor | None = None, cache: str = "") -> Backend:
        from .backends import backend_of

        return backend_of(models, backend=self.backend, executor=executor, cache=cache)

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
        from .interrupt import Stop

        question = self._ask(prompt, raw=raw, begin=generated, identify=False, **options)
        stop = stop or Stop()
        with stop.interrupt_at_the_end():
            return self._backend(question.request.model).look(
                question.request, stop, before=before, on_status=on_status
            )

    def score(self, prompt: str | Sequence[Message], answer: str, **options: Any) -> Reply:
        """Evaluate an answer that somebody else wrote, as if the model had written it after the prompt.

        Its tokens are evaluated together, as those of a prompt are (``phi_magic/engine/given.py``).

        Args:
            prompt: as in :meth:`__call__`.
            answer: the text.
            options: as in :meth:`__call__`; ``top_logprobs`` for alternatives. Temperature, top-p and the others change
                each token's ``probability`` alone, not its ``logprob`` and ``rank``.

        Returns:
            a reply with the records of the answer's tokens, ``logprob`` and ``perplexity``.

        Raises:
            PhiError: as in :meth:`__call__`; or there is no text.
        """
        stream = self.stream(prompt, given=_plain(answer), **options)
        stream.run()
        return stream.reply

    def tokenize(self, text: str, **options: Any) -> list[TokenText]:
        """Cut a text into the model's tokens; no special token is honoured in it.

        Args:
            text: any text.
            options: any trait by its name, for this call.

        Raises:
            PhiError: the model cannot be had, or ``text`` is no text.
        """
        from .interrupt import Stop

        if not isinstance(text, str):
            raise PhiError(f"tokenize() takes a text, not a {type(text).__name__}")
        stop = Stop()
        with stop.interrupt_at_the_end():
            model = _reference(self.settings(options))
            return self._backend(model).tokenize(model, _plain(text), stop)

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
        from .interrupt import Stop

        stop = Stop()
        with stop.interrupt_at_the_end():
            model = _reference(self.settings(options))
            self._backend(model).load(model, stop, on_status=on_status)

    def describe(self, **options: Any) -> ModelInfo:
        """Tell what is known of the model without loading it; nothing is downloaded.

        Args:
            options: any trait by its name, for this call.

        Raises:
            PhiError: the model is not on this machine, or is no sound GGUF.
        """
        from .interrupt import Stop

        settings = self.settings(options)
        stop = Stop()
        with stop.interrupt_at_the_end():
            model = _reference(settings)
            return self._backend(model).describe(model, settings["n_ctx"], stop)

    def unload(self) -> None:
        """Free the model, once the answers that are being written are whole."""
        from .interrupt import Stop

        stop = Stop()
        with stop.interrupt_at_the_end():
            self._backend().unload(stop)


def _reference(settings: Mapping[str, Any], plan: Plan | None = None) -> ModelReference:
    """Which model these settings name, and how it is run."""
    from .generation.request import ModelReference

    running = {name: settings[name] for name in ("profile", "n_threads", "n_gpu_layers", "keep_alive", "in_flight")}
    return ModelReference(settings["model"], plan=plan, **running)


def _messages(prompt: str | Sequence[Message], system: str, raw: bool, *, alone: bool = False) -> list[Message]:
    """The conversation to send: the system message first where there is one, the question last."""
    if isinstance(prompt, str):
        messages: list[Message] = [{"role": "user", "content": _plain(prompt)}]
    else:
        messages = [{"role": m["role"], "content": _plain(m["content"])} for m in prompt]
    if not messages or not (alone or messages[-1]["content"].strip()):
        raise PhiError("the prompt is empty: write what to ask")
    if (size := sum(len(message["content"]) for message in messages)) > _LONGEST_PROMPT:
        raise PhiError(f"the prompt has {size:,} characters, at most {_LONGEST_PROMPT:,} can be sent: shorten it")
    if not raw and messages[-1]["role"] != "user":
        raise PhiError("a conversation must end with a message of the user")
    if system and not raw and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": _plain(system)})
    return messages


def _derived(messages: Sequence[Message]) -> int:
    """A seed that is the same for the same messages."""
    digest = hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:8], "big") % (SEED_MAX + 1)


def _choices(choices: Sequence[str], *, together: bool) -> tuple[str, ...]:
    """Check the texts of which an answer is to be one.

    Args:
        together: whether the question has a schema or a beginning too.
    """
    if isinstance(choices, str) or not all(isinstance(choice, str) for choice in choices):
        raise PhiError(f"choices must be a list of texts, not {choices!r:.60}")
    offered = tuple(_plain(choice) for choice in choices)
    if len(offered) < 2 or len(set(offered)) < len(offered) or "" in offered:
        raise PhiError("choices must be two texts or more, all different, none empty")
    if together:
        raise PhiError("choices go with neither schema nor begin: leave one out")
    return offered


def _plain(text: str) -> str:
    """A text as ``str`` itself, whatever subclass it is of, with a question mark for each lone surrogate."""
    return str.__str__(text).encode("utf-8", "replace").decode()
