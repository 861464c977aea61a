"""A hub on the loopback for each test, and children that pull from it as a user's process would."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest

from tests.hub.server import Hub

# huggingface_hub reads the environment when it is imported, so each pull is a process of its own.
PULL = """
import json, sys
from phi_magic.models import files as models
from phi_magic.errors import PhiError
said, outcome = [], {}
def notify(text):
    said.append(text)
    print(text, file=sys.stderr, flush=True)
try:
    found = getattr(models, sys.argv[1])(sys.argv[2], notify=notify)
    outcome = {"path": str(found.path), "sha256": found.sha256, "revision": found.revision, "name": found.name}
except PhiError as error:
    outcome = {"error": str(error)}
except KeyboardInterrupt:
    outcome = {"interrupted": True}
print(json.dumps(outcome | {"said": said}))
"""


@pytest.fixture
def hub():
    with Hub() as hub:
        yield hub


@pytest.fixture
def content(tmp_path):
    """A file that is large enough to be cut in the middle of a transfer."""
    path = tmp_path / "content.gguf"
    path.write_bytes(b"GGUF" + random.Random(1).randbytes(3_000_000))
    return path


class Puller:
    """Starts processes that pull from a hub into one cache."""

    def __init__(self, hub, home):
        self.home = home
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            "HF_HOME": str(home),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        # what turns telemetry off is ours to set, and is what some of these tests are about
        del self.environment["HF_HUB_DISABLE_TELEMETRY"]

    def start(self, name="owner/repo/model.gguf", *, verb="resolve", before="", **environment):
        return subprocess.Popen(
            [sys.executable, "-c", before + PULL, verb, name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environment, **environment},
        )

    def __call__(self, *args, **options):
        return self.outcome(self.start(*args, **options))

    @staticmethod
    def outcome(process):
        """What the process found or said, as a dictionary: `path` and so on, or `error`; `said` and `stderr`."""
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
        outcome = {**json.loads(stdout.splitlines()[-1]), "stderr": stderr}
        assert "\n" not in outcome.get("error", "")
        return outcome

    @property
    def partial(self):
        """The partial files in the cache."""
        return list(self.home.rglob("*.incomplete"))

    @property
    def blobs(self):
        return [path for path in self.home.rglob("blobs/*") if path.suffix != ".incomplete"]


@pytest.fixture
def pull(hub, tmp_path):
    return Puller(hub, tmp_path / "hf")
