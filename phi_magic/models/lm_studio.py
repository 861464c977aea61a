"""Models that LM Studio has downloaded on this machine, used in place.

LM Studio keeps them as ``PUBLISHER/REPOSITORY/FILE.gguf``, the same names as on the hub, below the folder that its
``settings.json`` names, else below ``models`` in its home.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..errors import PhiError
from ..paths import expanded, read_json, read_text
from .known import HUB_NAME, ModelFile, model_name


def folders() -> list[Path]:
    """The folders in which LM Studio keeps models."""
    homes = [expanded("~/.lmstudio"), expanded("~/.cache/lm-studio")]  # of today, and until version 0.3
    with suppress(PhiError):  # it is not there, or no text: LM Studio's home is where it always was
        if pointer := read_text(expanded("~/.lmstudio-home-pointer"), 10_000).strip():
            homes.insert(0, Path(pointer))
    found: list[Path] = []
    for home in homes:
        with suppress(OSError, ValueError):  # settings that LM Studio itself could not read change nothing
            told = read_json(home / "settings.json")
            if isinstance(told, dict) and isinstance(chosen := told.get("downloadsFolder"), str):
                found.append(expanded(chosen))
        found.append(home / "models")
    return list(dict.fromkeys(found))


def find(repo_id: str, filename: str) -> ModelFile | None:
    """The file that LM Studio has of a hub's repository; None where it has not."""
    for folder in folders():
        path = folder / repo_id / filename
        if path.is_file():
            return ModelFile(model_name(repo_id, filename), path, filename=filename, place="LM Studio")
    return None


def models() -> list[ModelFile]:
    """List the models that LM Studio has on this machine, by name."""
    found: dict[str, ModelFile] = {}
    for folder in folders():
        for path in folder.glob("*/*/*.[gG][gG][uU][fF]"):
            name = HUB_NAME.fullmatch(path.relative_to(folder).as_posix())
            # a file that begins with mmproj is the part of a model that reads images
            if name and path.is_file() and path.name.isprintable() and not path.name.startswith("mmproj"):
                model = model_name(name["repo"], name["file"])
                found.setdefault(model, ModelFile(model, path, filename=name["file"], place="LM Studio"))
    return [found[name] for name in sorted(found)]
