"""``Phi``: asking from Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from traitlets.config import Configurable

from .errors import PhiError
from .interrupt import Stop, interruptible
from .question import checked_text, make_question, make_questions, reference, token_ids
from .reply import Prompt, Reply
from .settings import Settings

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from typing_extensions import Unpack

    from .conversation import Conversation
    from .generation.backend import Backend, ModelInfo, TokenText
    from .generation.request import ModelReference
    from .generation.stream import Stream, StreamAll
    from .keywords import Options
    from .position import Position
    from .sweep import Sweep


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
    def __call__(self, prompt: Prompt, *, n: None = None, **options: Unpack[Options]) -> Reply: ...

    @overload
    def __call__(self, prompt: Prompt, *, n: int, **options: Unpack[Options]) -> list[Reply]: ...

    def __call__(self, prompt: Prompt, *, n: int | None = None, **options: Unpack[Options]) -> Reply | list[Reply]:
        """Answer a prompt, and return when the answer is whole.

        Args:
            prompt: a question, or a conversation as a list of messages ending with the user's.
            n: how many answers, written together as :meth:`map` does. With a seed, the seeds are ``seed``,
                ``seed + 1``, …; without one each answer draws its own.
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
            return self.map([prompt] * int(n), progress=False, **seeded)
        stream = self.stream(prompt, **options)
        stream.run()
        return stream.reply

    def stream(
        self,
        prompt: Prompt,
        *,
        on_status: Callable[[str], None] = lambda _: None,
        **options: Unpack[Options],
    ) -> Stream:
        """Answer a prompt piece by piece: iterate over what this returns; its ``reply`` grows as it goes.

        Nothing is done before the first piece is asked for. The arguments are those of :meth:`__call__`, and:

        Args:
            on_status: called with a short text on each stage before the first token.
            begin: token ids that the answer begins with, whatever is drawn. A random number is used up for each, so that
                an answer that begins with the tokens of another one continues as that one did.
            known: the first tokens of another reply to the same question with the same settings. The answer begins with
                them, before ``begin``; their records are copied, and their part of the KV cache is used again.
            top_logprobs: how many of the likeliest tokens to keep for every token of the reply.
            continues: whether another question is likely to follow. Its beginning is then evaluated after the answer.
            plan: how to run the model, as a ``Reply`` recorded it. Left out: the plan that suits this machine.
            now: the date and time, in ISO 8601, for a chat template that writes them into the prompt. Left out: the
                present.
            ends_after: end after so many tokens, as an interrupt does. The context has room for ``max_tokens`` all the same.
            identify: end only when the SHA-256 of the model's file is known. For a file outside of the hub's cache that
                takes a second for each GB, the first time.
            schema: what the answer is constrained to: a JSON-schema dict, a pydantic model, a dataclass, or the path of a JSON
                file. ``Reply.data`` is the object then, unless the answer was cut.
            choices: texts of which the answer is one, two at least. Nothing is decoded: ``Reply.choices`` has the
                probability of each as the whole answer, and ``Reply.text`` is drawn from these.
        """
        from .generation.stream import Stream

        question = make_question(self, prompt, **options)
        self.last = question.reply
        return Stream(question, self._backend(question.request.model, cache=question.cache), on_status=on_status)

    def map(
        self,
        prompts: Iterable[Prompt],
        *,
        progress: bool = True,
        on_error: str = "stop",
        executor: Executor | None = None,
        **options: Unpack[Options],
    ) -> list[Reply]:
        """Answer every prompt; the replies are in the prompts' order.

        Their tokens are decoded together, which takes far less time than one after another. An answer does not depend on
        the other prompts. But it is not the one that a single call gives: ``Reply.engine["pass"]`` is ``wide``. Without a
        seed each answer draws its own.

        Args:
            progress: show a bar.
            on_error: ``stop`` refuses the whole map where prompts cannot be asked; ``keep`` answers the others, and
                records each error in its reply.
            executor: any ``concurrent.futures.Executor``: its processes, on this machine or on a cluster, answer the
                prompts. The texts are those of this machine, where the machines are of the same kind.
            options: as in :meth:`stream`; ``seed`` may be a list with a seed for each prompt.

        Raises:
            PhiError: as in :meth:`__call__`; before any answer is begun. It names all prompts that cannot be asked.
            KeyboardInterrupt: Ctrl-C; the answers so far are :attr:`mapped`.
        """
        from .tables.bar import run
        from .tables.prompts import questions

        stream = self.stream_all(questions(prompts, options), on_error=on_error, executor=executor)
        if stream.replies:
            run(stream, shown=progress)
        return stream.replies

    def sweep(self, prompt: Prompt, *, progress: bool = True, **options: Any) -> Sweep:
        """Answer a prompt with every combination of some settings: ``phi.sweep("…", temperature=[0.2, 1.5])``.

        Args:
            progress: show a bar.
            options: as in :meth:`stream`; a setting that is a number, and the model, may have several values. A seed
                that is neither swept nor set is drawn once for all answers.

        Returns:
            the answers, which a notebook shows as a table; ``frame()`` makes a DataFrame of them.

        Raises:
            PhiError: as in :meth:`map`; or nothing is swept.
            KeyboardInterrupt: Ctrl-C; the answers so far are :attr:`mapped`.
        """
        from .sweep import Sweep, questions, split
        from .tables.bar import run

        grid, others = split(options)
        stream = self.stream_all(questions(prompt, grid, others, self.seed))
        run(stream, shown=progress)
        return Sweep(grid, stream.replies)

    def stream_all(
        self,
        questions: Iterable[tuple[Prompt | PhiError, Mapping[str, Any]]],
        *,
        on_status: Callable[[str], None] = lambda _: None,
        on_error: str = "stop",
        executor: Executor | None = None,
    ) -> StreamAll:
        """Answer questions, each with its own options (those of :meth:`stream`), together: iterate over what this
        returns for the numbers of the replies that grew; its ``replies`` are :attr:`mapped` too.

        Args:
            questions: prompts with their options, in which ``cache`` is the same for all; an error stands in the place of a prompt that could not be made.
            on_status: told in a few words what is going on until the first token is there.
            on_error: ``stop`` raises for all questions that cannot be asked, before anything is computed; ``keep``
                records each error in its reply, and answers the others.
            executor: as in :meth:`map`.
        """
        from .generation.stream import StreamAll

        if on_error not in ("stop", "keep"):
            raise PhiError(f"on_error is stop or keep, not {on_error!r}")
        asked = make_questions(self, questions, keep_errors=on_error == "keep")
        stream = StreamAll(
            asked,
            self._backend(
                *(one.request.model for one in asked), executor=executor, cache=asked[0].cache if asked else ""
            ),
            keep_errors=on_error == "keep",
            on_status=on_status,
        )
        self.mapped = stream.replies
        return stream

    def _backend(self, *models: ModelReference, executor: Executor | None = None, cache: str = "") -> Backend:
        from .backends import backend_of

        return backend_of(models, backend=self.backend, executor=executor, cache=cache)

    def look(
        self,
        prompt: Prompt,
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
        question = make_question(
            self, prompt, raw=raw, begin=token_ids("generated", generated), identify=False, **options
        )
        stop = stop or Stop()
        with stop.interrupt_at_the_end():
            position = self._backend(question.request.model).look(
                question.request, stop, before=before, on_status=on_status
            )
        return replace(position, sampling=question.request.sampling)

    def score(self, prompt: Prompt, answer: str, **options: Any) -> Reply:
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
        stream = self.stream(prompt, given=checked_text("the answer", answer), **options)
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
        sent = checked_text("what is cut into tokens", text)
        with interruptible() as stop:
            model = reference(self.settings(options))
            return self._backend(model).tokenize(model, sent, stop)

    def chat(self, name: str = "default") -> Conversation:
        """The conversation of this name, begun or not, asked with these settings: ``phi.chat("trip")("Hello")``.

        Raises:
            PhiError: the name cannot be one.
        """
        from .conversation import Conversation

        return Conversation(checked_text("the name of a conversation", name), partial(self.stream, continues=True))

    def load(self, *, on_status: Callable[[str], None] = lambda _: None, **options: Any) -> None:
        """Load the model now rather than with the first question; may download it.

        Args:
            on_status: told in a few words how far it is.
            options: any trait by its name, for this call.

        Raises:
            PhiError: the model cannot be had, or does not fit the memory.
            KeyboardInterrupt: Ctrl-C.
        """
        with interruptible() as stop:
            model = reference(self.settings(options))
            self._backend(model).load(model, stop, on_status=on_status)

    def describe(self, **options: Any) -> ModelInfo:
        """Tell what is known of the model without loading it; nothing is downloaded.

        Args:
            options: any trait by its name, for this call.

        Raises:
            PhiError: the model is not on this machine, or is no sound GGUF.
        """
        settings = self.settings(options)
        with interruptible() as stop:
            model = reference(settings)
            return self._backend(model).describe(model, settings["n_ctx"], stop)

    def unload(self) -> None:
        """Free the model, once the answers that are being written are whole."""
        with interruptible() as stop:
            self._backend().unload(stop)
