"""``%phi_models``: list models, download, load and remove them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from IPython.core.magic import line_magic, magics_class, no_var_expand
from IPython.display import display

from ..errors import PhiError
from ..generation.request import is_address
from ..options import unknown
from .adapting import PhiMagics, one_line

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ..rendering.table import Table

_SURE = re.compile(r"(?<!\S)-y(?!\S)")
ACTIONS = ("list", "pull", "load", "unload", "info", "rm", "cache")


@magics_class
class ModelsMagics(PhiMagics):
    """The magic of one shell, with the ``Phi`` whose model it loads."""

    @no_var_expand
    @line_magic
    def phi_models(self, line: str) -> None:
        """Say what models there are; bring, load and remove them.

        %phi_models                  known by name, in the hub's cache, Ollama's or LM Studio's: size, memory, fits or not
        %phi_models list URL         the models of an OpenAI-compatible server
        %phi_models pull phi-2       download it, or continue a download; a damaged file is downloaded again
        %phi_models load phi-2       load it now rather than with the first question
        %phi_models unload           free the loaded model's memory
        %phi_models info demo        what its GGUF says: licence, architecture, chat template, hash
        %phi_models cache            where answers are kept (--cache), how many and how large; cache clear removes them
        %phi_models rm phi-2         delete it from the hub's cache, after a question; -y answers it

        NAME is a known name, owner/repo/file.gguf on the hub, ollama:MODEL or a path; load and info take a server's
        model too, and without a name Phi.model.
        """
        with one_line():
            action, *words = line.split(maxsplit=1) or ["list"]
            rest = "".join(words)
            if action not in ACTIONS:
                raise PhiError(unknown(action, ACTIONS, "action"))
            sure = action == "rm" and bool(_SURE.search(rest))
            given = (_SURE.sub("", rest) if sure else rest).strip()
            if given and (action == "unload" or (action == "list" and not is_address(given))):
                raise PhiError(f"%phi_models {action} takes no name, and there is {given!r}")
            if action in ("pull", "rm") and not given:
                raise PhiError(f"%phi_models {action} needs the name of a model")
            if action in ("pull", "rm") and is_address(given):
                raise PhiError(f"%phi_models {action} is for this machine: a server looks after its models itself")
            if action == "cache" and given not in ("", "clear"):
                raise PhiError(f"%phi_models cache takes nothing or clear, and there is {given!r}")
            name = given.strip("\"'") or ("" if action in ("list", "cache") else self.phi.model)
            if action == "rm":
                self._remove(name, sure=sure)
            else:
                getattr(self, f"_{action}")(name)

    def _list(self, name: str) -> None:
        from ..catalogue import listing, served

        _show(served(name) if is_address(name) else listing(self.phi))

    def _cache(self, action: str) -> None:
        from ..generation.store import default_path, opened
        from ..machine import show_size
        from ..paths import expanded, show_path

        setting = self.phi.cache or "on"
        path = default_path() if setting == "on" else expanded(setting)
        if not path.exists():
            print(f"{show_path(path)}: no answers are kept yet")
            return
        store = opened(setting)
        count, size = store.size()
        if action == "clear":
            store.clear()
        verb = "removed" if action else "kept"
        print(f"{show_path(path)}: {count:,} answer{'s' * (count != 1)}, {show_size(size)} {verb}")

    def _info(self, name: str) -> None:
        from ..catalogue import information

        _show(information(self.phi, name))

    def _pull(self, name: str) -> None:
        from ..models.files import pull
        from ..paths import show_path

        print(f"{name}: {show_path(pull(name).path)}")

    def _load(self, name: str) -> None:
        self.phi.load(model=name)
        print(f"{name}: the server is there and has the model" if is_address(name) else f"{name} is loaded")

    def _unload(self, name: str) -> None:
        self.phi.unload()

    def _remove(self, name: str, *, sure: bool) -> None:
        from ..catalogue import loaded
        from ..machine import show_size
        from ..models.files import remove, resolve

        file = resolve(name, download=False)
        if file.repo_id and not sure:
            size = show_size(file.path.stat().st_size)
            answer = input(f"Delete {name} ({size}) from the hub's cache? [y/N] ")
            if answer.strip().lower() not in ("y", "yes"):
                print("nothing was deleted")
                return
        held = loaded()
        if held and held.resolve() == file.path.resolve() and file.repo_id:
            self.phi.unload()
        print(f"{name}: {show_size(remove(name))} freed")


def _show(table: Table) -> None:
    display(table.bundle(), raw=True)


def complete(shell: InteractiveShell, event: Any) -> list[str]:
    """For Tab: the actions, then the names of models."""
    from ..models.files import names

    words = event.line.split()
    first = len(words) == 1 or (len(words) == 2 and event.symbol)
    return [word for word in (ACTIONS if first else names()) if word.startswith(event.symbol)]
