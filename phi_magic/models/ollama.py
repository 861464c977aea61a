"""Models that Ollama has pulled on this machine, used in place.

Ollama keeps one JSON manifest for each model and tag, ``manifests/HOST/NAMESPACE/MODEL/TAG``. The manifest's layer of
type :data:`_WEIGHTS` names a GGUF by its SHA-256: ``blobs/sha256-…``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ..errors import PhiError
from ..paths import expanded, read_json, show_path
from ..suggestions import did_you_mean
from .known import ModelFile

PREFIX = "ollama:"
_HOST, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"  # what a name leaves out
_WEIGHTS = "application/vnd.ollama.image.model"
_PART = re.compile(r"[\w][\w.-]*")
_HOST_PART = re.compile(r"[\w][\w.:-]*")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def folders() -> list[Path]:
    """The folders in which Ollama keeps models: that of ``OLLAMA_MODELS``, else the user's and the Linux service's."""
    if own := os.environ.get("OLLAMA_MODELS"):
        return [expanded(own)]
    service = [Path("/usr/share/ollama/.ollama/models")] if sys.platform == "linux" else []
    return [expanded("~/.ollama/models"), *service]


def find(name: str) -> ModelFile:
    """The file of ``ollama:MODEL``, where the model is named as Ollama names it: ``[[HOST/]USER/]MODEL[:TAG]``.

    Raises:
        PhiError: Ollama has no such model on this machine, or not as a GGUF.
    """
    model = name.removeprefix(PREFIX)
    entry = _entry(model)
    pull = f"`ollama pull {model}`"
    for folder in folders():
        manifest = folder / "manifests" / entry
        try:
            digest = _weights(manifest)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise PhiError(
                f"Ollama's manifest {show_path(manifest)} cannot be read ({error}); {pull} repairs it"
            ) from error
        if digest is None:
            raise PhiError(f"{name} has no GGUF on this machine: its manifest {show_path(manifest)} names no weights")
        path = folder / "blobs" / f"sha256-{digest}"
        if not path.is_file():
            raise PhiError(f"{name} is incomplete: {show_path(path)} is missing; {pull} fetches it")
        return ModelFile(_short(entry), path, sha256=digest, place="Ollama")
    where = " or ".join(show_path(folder) for folder in folders())
    raise PhiError(f"Ollama has no model {model!r} in {where}; {pull} fetches it{did_you_mean(name, names())}")


def models() -> list[ModelFile]:
    """List the models that Ollama has as GGUF on this machine, by name."""
    found = []
    for name in names():
        try:
            found.append(find(name))
        except PhiError:  # incomplete, or kept in another form: of no use here
            continue
    return found


def names() -> list[str]:
    """List the names of what Ollama has on this machine, each with its prefix."""
    return sorted({_short(entry) for folder in folders() for entry in _entries(folder / "manifests")})


def _entries(manifests: Path) -> Iterator[Path]:
    for path in manifests.glob("*/*/*/*"):
        entry = path.relative_to(manifests)
        if path.is_file() and all(map(_PART.fullmatch, entry.parts[1:])):
            yield entry


def _entry(model: str) -> Path:
    """Where below ``manifests`` the model's manifest lies."""
    *before, last = model.split("/")
    name, colon, tag = last.partition(":")
    host, namespace = [*[_HOST, _NAMESPACE][: 2 - len(before)], *before][:2]
    tag = tag if colon else _TAG
    if len(before) > 2 or not (_HOST_PART.fullmatch(host) and all(map(_PART.fullmatch, (namespace, name, tag)))):
        raise PhiError(
            f"{model[:80]!r} is no name of a model of Ollama's: it takes ollama:MODEL or ollama:USER/MODEL:TAG"
        )
    return Path(host, namespace, name, tag)


def _short(entry: Path) -> str:
    host, namespace, name, tag = entry.parts
    before = [host, namespace] if host != _HOST else [namespace] if namespace != _NAMESPACE else []
    return PREFIX + "/".join([*before, name]) + ("" if tag == _TAG else f":{tag}")


def _weights(manifest: Path) -> str | None:
    """The SHA-256 of the GGUF that a manifest names; None where it names none."""
    told = read_json(manifest)
    layers = told.get("layers") if isinstance(told, dict) else None
    if not isinstance(layers, list):
        raise ValueError("it has no layers")  # noqa: TRY004 - what a file holds is no argument
    digests = [
        str(layer.get("digest")) for layer in layers if isinstance(layer, dict) and layer.get("mediaType") == _WEIGHTS
    ]
    if not digests:
        return None
    digest = _DIGEST.fullmatch(digests[0])
    if not digest:
        raise ValueError("it names its weights in another way")
    return digest[1]
