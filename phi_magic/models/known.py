"""The models with a short name, and what is known of a model's file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

#: The default model.
DEFAULT = "phi-3-mini-4k"
#: A file on the hub: ``owner/repo/file.gguf``.
HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)/(?P<file>[^\\]+\.gguf)", re.IGNORECASE)


@dataclass(frozen=True)
class Known:
    """A model with a short name.

    Attributes:
        repo_id: its repository on the hub; None where it ships with phi_magic.
        filename: its file in the repository.
        size: about how many bytes it has.
        licence: the licence of its weights.
        about: its size and context, for people.
    """

    repo_id: str | None
    filename: str
    size: int
    licence: str
    about: str


KNOWN = {
    "demo": Known(None, "phi-demo.gguf", 3_000_000, "MIT", "shipped with phi_magic: tiny, writes haiku"),
    "phi-3-mini-4k": Known(
        "microsoft/Phi-3-mini-4k-instruct-gguf",
        "Phi-3-mini-4k-instruct-q4.gguf",
        2_393_231_072,
        "MIT",
        "3.8 billion parameters, 4,096 tokens of context",
    ),
    "phi-3.5-mini": Known(
        "bartowski/Phi-3.5-mini-instruct-GGUF",
        "Phi-3.5-mini-instruct-Q4_K_M.gguf",
        2_390_000_000,
        "MIT",
        "3.8 billion parameters, 131,072 tokens",
    ),
    "phi-4-mini": Known(
        "unsloth/Phi-4-mini-instruct-GGUF",
        "Phi-4-mini-instruct-Q4_K_M.gguf",
        2_490_000_000,
        "MIT",
        "3.8 billion parameters, 131,072 tokens",
    ),
    "phi-4-mini-reasoning": Known(
        "unsloth/Phi-4-mini-reasoning-GGUF",
        "Phi-4-mini-reasoning-Q4_K_M.gguf",
        2_490_000_000,
        "MIT",
        "3.8 billion parameters, 131,072 tokens; reasons before it answers",
    ),
    "phi-2": Known(
        "TheBloke/phi-2-GGUF", "phi-2.Q4_K_M.gguf", 1_790_000_000, "MIT", "2.8 billion parameters, 2,048 tokens"
    ),
    "phi-4": Known(
        "microsoft/phi-4-gguf", "phi-4-q4.gguf", 9_050_000_000, "MIT", "14.7 billion parameters, 16,384 tokens"
    ),
    "phi-4-reasoning-plus": Known(
        "unsloth/Phi-4-reasoning-plus-GGUF",
        "Phi-4-reasoning-plus-Q4_K_M.gguf",
        9_050_000_000,
        "MIT",
        "14.7 billion parameters, 32,768 tokens; reasons before it answers",
    ),
}


@dataclass(frozen=True)
class ModelFile:
    """A model's file on this machine.

    Attributes:
        name: what the model is called: a short name where it has one.
        path: the file.
        repo_id: its repository, where it lies in the hub's cache.
        filename: its name in the repository.
        revision: the repository's commit that it is from.
        sha256: its hash, where it is known without reading the file (else `file_sha256` computes it).
        place: where it was found, in one or two words for a table.
    """

    name: str
    path: Path
    repo_id: str | None = None
    filename: str = ""
    revision: str | None = None
    sha256: str | None = None
    place: str = "file"


def model_name(repo_id: str, filename: str) -> str:
    """The short name of a hub's file; where it has none, ``owner/repo/file.gguf``."""
    short = (name for name, known in KNOWN.items() if (known.repo_id, known.filename) == (repo_id, filename))
    return next(short, f"{repo_id}/{filename}")
