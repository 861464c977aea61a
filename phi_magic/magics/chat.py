"""``%phi_chat``, and which conversation a cell's question belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.magic import line_magic, magics_class
from IPython.display import display

from ..conversation import DEFAULT, Conversation, names
from ..errors import PhiError
from ..options import unknown, words_of
from ..phi import Phi
from ..running_cell import request
from .adapting import PhiMagics, one_line

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

ACTIONS = ("show", "list", "undo", "reset", "save", "read")


@magics_class
class ChatMagics(PhiMagics):
    """The magic of one shell, with the ``Phi`` that its conversations ask."""

    def __init__(self, shell: InteractiveShell, phi: Phi) -> None:
        super().__init__(shell, phi)
        self.listeners = {"pre_run_cell": self._drop_deleted}

    @line_magic
    def phi_chat(self, line: str) -> None:
        """Show and mend conversations; %%phi -c continues them.

        %phi_chat show [NAME]          the whole conversation; without a word after it %phi_chat shows too
        %phi_chat list                 every conversation
        %phi_chat undo [NAME]          drop the newest turn
        %phi_chat reset [NAME]         drop all turns; at the top of a notebook, so that Run All begins with none
        %phi_chat save [NAME] [FILE]   write it as JSON, to NAME.json if no file is named
        %phi_chat read [NAME] [FILE]   make it what was saved; quote a path with spaces

        NAME is "default" where it is left out. Example: %phi_chat undo trip
        """
        with one_line():
            action, name, file = self._words(line)
            if action == "list":
                _say(self._list())
                return
            conversation = self.phi.chat(name)
            if action == "read":
                conversation.read(file)
                _say(f"{name}: {_turns(len(conversation))} from {file}")
                return
            if not conversation.turns and name != DEFAULT and action != "reset":  # Run All begins with a reset
                raise PhiError(unknown(name, names(), "conversation"))
            if action == "show":
                display(conversation)
            elif action == "undo":
                _say(f"{name}: turn {len(conversation)} dropped: {_beginning(conversation.undo().reply.prompt)}")
            elif action == "reset":
                _say(f"{name}: {_turns(conversation.reset())} dropped")
            else:
                _say(f"{name}: {_turns(len(conversation))} written to {conversation.save(file)}")

    def _words(self, line: str) -> tuple[str, str, str]:
        words = words_of(line)
        action, *rest = words or ["show"]
        if action not in ACTIONS:
            raise PhiError(unknown(action, ACTIONS, "action"))
        most = {"list": 0, "save": 2, "read": 2}.get(action, 1)
        if len(rest) > most:
            raise PhiError(f"{' '.join(rest[most:])!r} is one word too many: see %phi_chat?")
        name = rest[0] if rest else DEFAULT
        return action, name, rest[1] if len(rest) > 1 else f"{name}.json"

    def _list(self) -> str:
        every = [self.phi.chat(name) for name in names()]
        width = max((len(chat.name) for chat in every), default=0)
        lines = [
            f"{chat.name:{width}}  {_turns(len(chat))}, the last: {_beginning(chat.turns[-1].reply.prompt)}"
            for chat in every
        ]
        return "\n".join(lines) or "There are no conversations yet: %%phi -c begins one."

    def _drop_deleted(self, info: Any) -> None:
        """JupyterLab and Notebook tell, with the next cell that runs, which cells were deleted since."""
        metadata = request(self.shell).get("metadata") or {}
        deleted = set(metadata.get("deletedCells") or ()) - {metadata.get("cellId")}  # cut, and pasted elsewhere
        for name in names() if deleted else ():
            self.phi.chat(name).drop(deleted)


def told(conversation: Conversation, place: int) -> str:
    """One line where a question becomes a turn that was there before, with what that drops; else nothing."""
    later = len(conversation) - place - 1
    if later < 0:
        return ""
    dropped = f"; {_turns(later)} after it dropped, run their cells again" if later else ""
    return f"{conversation.name}: turn {place + 1} asked again{dropped}"


def complete(shell: InteractiveShell, event: Any) -> list[str] | None:
    """Actions for Tab after ``%phi_chat``, then the names of conversations; a file's name is left to IPython."""
    before = event.text_until_cursor.split()
    given = len(before) - 1 - bool(event.symbol)
    if given > 1:
        return None
    offered = ACTIONS if given == 0 else names()
    return [name for name in offered if name.startswith(event.symbol)]


def _turns(count: int) -> str:
    return f"{count} turn{'' if count == 1 else 's'}"


def _beginning(prompt: str) -> str:
    first = " ".join(prompt.split())
    return first if len(first) <= 60 else f"{first[:59]}…"


def _say(text: str) -> None:
    from ..rendering import to_text

    print(to_text(text))
