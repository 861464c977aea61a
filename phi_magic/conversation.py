"""Conversations: turns, each of which belongs to the cell that asked.

A question that failed or was interrupted before its first token makes no turn: it is neither sent nor shown, and the
conversation goes on as if it had not been asked.
"""

from __future__ import annotations

import json
import os
import re
import threading
import weakref
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import PhiError
from .messages import Earlier
from .paths import expanded, read_text, replacing, show_path
from .reply import Message, Reply
from .sampling import scalar

if TYPE_CHECKING:
    from .generation.stream import Stream

#: The conversation that has no other name.
DEFAULT = "default"

_NAME = re.compile(r"\w[\w.-]{0,99}")  # also the name of a file
_KIND = "conversation"


@dataclass
class Turn:
    """One question with its answer."""

    reply: Reply
    cell: str | None = None  #: the id of the cell that asked; None where the front end sends none
    run: str | None = None  #: which run of that cell it was
    stream: weakref.ref[Stream] | None = None  #: what writes the answer
    on_dropped: Callable[[], None] | None = None  #: called when the turn leaves its conversation
    _messages: tuple[Message, ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        """Question and answer as they are sent; the same two objects as long as the texts are the same."""
        texts = self.reply.prompt, self.reply.text
        if tuple(message["content"] for message in self._messages) != texts:
            roles = ("user", "assistant")
            self._messages = tuple(Message(role=role, content=text) for role, text in zip(roles, texts, strict=True))
        return self._messages

    @property
    def counts(self) -> bool:
        """Whether there is an answer, whole or not."""
        return bool(self.reply.text)

    @property
    def may_count(self) -> bool:
        """Whether there is an answer, or may be one yet."""
        return self.counts or (self.stream is not None and self.stream() is not None)


#: Every conversation of this process, by its name; like the model, all ``Phi`` share them. It includes questions whose
#: answer has no text yet, so that two answers written at the same time both stay.
_turns: dict[str, list[Turn]] = {}
_lock = threading.RLock()  # held wherever _turns changes


def names() -> list[str]:
    """The conversations that have a turn, in the order in which they began."""
    return [name for name, turns in _turns.items() if any(turn.counts for turn in turns)]


def forget() -> None:
    """Drop all conversations."""
    with _lock:
        _turns.clear()


class Conversation:
    """A conversation by its name: call it to ask, and it remembers. ``phi.chat("ice")`` makes one.

    Args:
        name: letters, digits, ``_``, ``-`` and ``.``; two of the same name hold the same turns.
        ask: asks the model, as :meth:`phi_magic.Phi.stream` does.

    Raises:
        PhiError: the name cannot be one.
    """

    def __init__(self, name: str, ask: Callable[..., Stream]) -> None:
        if not _NAME.fullmatch(name):
            raise PhiError(f"{name!r:.60} cannot name a conversation: use letters, digits, _, - and .")
        self.name = name
        self._ask = ask

    @property
    def turns(self) -> list[Turn]:
        """The turns that have an answer, whole or not, oldest first."""
        return [turn for turn in _turns.get(self.name, ()) if turn.counts]

    @property
    def messages(self) -> list[Message]:
        """Questions and answers as they are sent before the next question; the system message is not among them."""
        return _messages(self.turns)

    def __len__(self) -> int:
        return len(self.turns)

    def __call__(self, prompt: str, **options: Any) -> Reply:
        """Ask, and return when the answer is whole; arguments and errors are those of :meth:`stream`."""
        stream = self.stream(prompt, **options)
        stream.run()
        return stream.reply

    def stream(
        self,
        prompt: str,
        *,
        cell: str | None = None,
        run: str | None = None,
        on_dropped: Callable[[], None] | None = None,
        **options: Any,
    ) -> Stream:
        """Ask, and answer piece by piece; the turn counts from its first piece of text on, however it ends.

        Where ``cell`` asked before, in another run of it, that turn is replaced, and all later ones are dropped: they
        were answers to something else. The system message is that of the turn before, unless ``system`` is given.

        Args:
            cell: the id of the cell that asks; without one the turn is appended.
            run: a number for each run of a cell, so that a cell may hold several turns.
            on_dropped: called if the turn leaves the conversation, unless ``cell`` itself asks again.
            options: as :meth:`phi_magic.Phi.stream` takes them.

        Raises:
            PhiError: as there; with ``raw`` too, since raw text knows no turns.
        """
        if scalar(options.get("raw")) is True:
            raise PhiError("raw text knows no turns: leave out --raw, or --chat")
        with _lock:
            kept = [turn for turn in _turns.get(self.name, ()) if turn.may_count]
            kept = kept[: _place(kept, cell, run)]
            dropped = self._others(kept, cell)
            turns = [turn for turn in kept if turn.counts]
            if turns and options.get("system") is None:
                options["system"] = _system(turns[-1])
            earlier = Earlier(_messages(turns), turns[-1].reply.messages if turns else ())
            stream = self._ask([*earlier, {"role": "user", "content": prompt}], **options)
            stream.reply.messages = earlier
            _turns[self.name] = [*kept, Turn(stream.reply, cell, run, weakref.ref(stream), on_dropped)]
        _tell(dropped)
        return stream

    def place(self, cell: str | None, run: str | None) -> int:
        """Return the number, from 0, of the turn that this cell's next question becomes; that is how many turns
        stay.
        """
        return _place(self.turns, cell, run)

    def undo(self) -> Turn:
        """Drop the newest turn, and return it.

        Raises:
            PhiError: there is none.
        """
        with _lock:
            if not self.turns:
                raise PhiError(f"the conversation {self.name} has no turn to undo")
            newest = self.turns[-1]
            _turns[self.name] = [turn for turn in _turns[self.name] if turn is not newest]
        _tell([newest])
        return newest

    def reset(self) -> int:
        """Drop all turns, and return how many there were."""
        with _lock:
            dropped = _turns.pop(self.name, [])
        _tell(dropped)
        return sum(turn.counts for turn in dropped)

    def drop(self, cells: Collection[str]) -> None:
        """Drop the turns of deleted cells; later turns stay as they are."""
        with _lock:
            kept = [turn for turn in _turns.get(self.name, ()) if turn.cell not in cells]
            dropped = self._others(kept)
            if dropped:
                _turns[self.name] = kept
        _tell(dropped)

    def to_markdown(self) -> str:
        """The whole conversation, system message included, as Markdown that reads well."""
        parts, system = [], ""
        for number, turn in enumerate(self.turns, 1):
            if _system(turn) != system:
                system = _system(turn)
                parts.append(f"**System:** {system}" if system else "**System:** (none)")
            parts.append(f"**{number}. You:** {turn.reply.prompt.strip()}")
            cut = "" if turn.reply.finish_reason == "stop" else f" *({_ENDS[turn.reply.finish_reason]})*"
            parts.append(f"**{turn.reply.model}:**{cut}\n\n{turn.reply.text.strip()}")
        return "\n\n".join(parts) or f"*The conversation {self.name} has no turns.*"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from .rendering.formats import bundle

        return bundle(self.to_markdown())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the conversation as JSON, whole or not at all, and return where.

        Raises:
            PhiError: it cannot be written there, or what is there is no saved conversation.
        """
        file = _path(path)
        if file.is_dir():
            raise PhiError(f"{show_path(file)} is a folder: name a file in it")
        turns = [{"cell": turn.cell, "reply": _plain(turn.reply)} for turn in self.turns]
        text = json.dumps({"phi_magic": _KIND, "name": self.name, "turns": turns}, indent=1, ensure_ascii=False)
        try:
            if file.exists():
                _read(file)  # do not overwrite another file
            with replacing(file) as new:
                new.write_text(text, encoding="utf-8", errors="replace")
        except OSError as error:
            raise PhiError(f"{file} cannot be written: {error.strerror}") from None
        except ValueError:  # a NUL, a lone surrogate
            raise PhiError(f"{file} cannot be a file's name") from None
        return file

    def read(self, path: str | os.PathLike[str]) -> Conversation:
        """Make this conversation what :meth:`save` wrote, whatever it was before, and return it.

        Raises:
            PhiError: the file is missing, or is no saved conversation.
        """
        turns = _read(_path(path))
        messages: list[Message] = []
        earlier: Sequence[Message] = ()
        for turn in turns:
            turn.reply.messages = earlier = Earlier(messages, earlier)
            messages += turn.messages
        with _lock:
            dropped = _turns.get(self.name, [])
            _turns[self.name] = turns
        _tell(dropped)
        return self

    def _others(self, kept: list[Turn], cell: str | None = None) -> list[Turn]:
        """The turns that are neither among ``kept`` nor of this cell."""
        stay = {id(turn) for turn in kept}
        turns = _turns.get(self.name, ())
        return [turn for turn in turns if id(turn) not in stay and (cell is None or turn.cell != cell)]


def _tell(dropped: list[Turn]) -> None:
    """Tell of dropped turns."""
    for turn in dropped:
        if turn.on_dropped:
            turn.on_dropped()


_ENDS = {"length": "cut at its longest", "interrupted": "interrupted", "error": "failed"}


def _path(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise PhiError(f"a file is named by the text of its path, not by {path!r:.60}")
    return expanded(path)


def _place(turns: list[Turn], cell: str | None, run: str | None) -> int:
    asked = (at for at, turn in enumerate(turns) if cell and turn.cell == cell and turn.run != run)
    return next(asked, len(turns))


def _messages(turns: list[Turn]) -> list[Message]:
    return [message for turn in turns for message in turn.messages]


def _system(turn: Turn) -> str:
    return str(turn.reply.params.get("system", ""))


def _plain(reply: Reply) -> dict[str, Any]:
    """Return the fields of a reply that earlier turns do not hold; ``data`` is left out, since the text holds it."""
    return {name: value for name, value in reply.to_dict().items() if name not in ("messages", "data")}


def _read(file: Path) -> list[Turn]:
    plain: Any = None
    with suppress(ValueError, RecursionError):
        plain = json.loads(read_text(file))
    with suppress(TypeError, KeyError, ValueError):
        if plain["phi_magic"] == _KIND:
            return [_turn(turn) for turn in plain["turns"]]
    raise PhiError(f"{show_path(file)} is no saved conversation")


def _turn(plain: Any) -> Turn:
    if not isinstance(plain["cell"], str | None) or not isinstance(plain["reply"], dict):
        raise TypeError("a turn has a cell's name and the record of a reply")
    return Turn(Reply.from_dict(plain["reply"]), plain["cell"])
