"""Who takes part, and how each is started: a process of its own, given the work, that gives back figures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.stand_in import sources
from benchmarks.work import Work

PROJECT = Path(__file__).parent.parent
CANDLE = Path(__file__).parent / "candle"


class Unavailable(Exception):
    """A contender that cannot take part here; the message says what would let it."""


@dataclass(frozen=True)
class Contender:
    """``command`` may build first, in the folder that it is given; ``plan`` and ``environment`` are for our engine."""

    command: Callable[[Path], list[str]]
    extras: tuple[str, ...] = ()
    plan: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    figures: Callable[[list[str], Work], dict[str, Any]] | None = None  #: where it does not speak our protocol

    def run(self, command: list[str], work: Work) -> dict[str, Any]:
        """What it measured.

        Raises:
            Unavailable: it failed; with the end of what it complained of.
        """
        if self.figures:
            return self.figures(command, work)
        environment = dict(self.environment)
        if work.threads:
            environment["RAYON_NUM_THREADS"] = str(work.threads)  # Candle's; the others read the work
        work = replace(work, extras=self.extras, plan=dict(self.plan))
        figures: dict[str, Any] = json.loads(_output(command, work.to_json(), environment))
        return figures


def _output(command: list[str], given: str = "", environment: Mapping[str, str] | None = None) -> str:
    paths = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        command,
        input=given,
        env=os.environ | {"PYTHONPATH": paths} | dict(environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"{command[0]} failed with status {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def _module(name: str) -> Callable[[Path], list[str]]:
    return lambda _: [sys.executable, "-m", f"benchmarks.{name}"]


@dataclass(frozen=True)
class Build:
    """A way to build the program of benchmarks/candle."""

    manifest: Path = CANDLE / "Cargo.toml"
    flags: str = ""


BUILDS = {
    "native": Build(flags="-C target-cpu=native"),
    "plain": Build(),  # what `cargo build` does: the oldest instructions of its kind of processor
    "tutorial": Build(manifest=CANDLE / "tutorial" / "Cargo.toml"),
}


def candle(folder: Path, build: str) -> Path:
    """The program of benchmarks/candle, built in one of the ways of :data:`BUILDS`.

    Raises:
        Unavailable: there is no cargo, or it does not build.
    """
    if not shutil.which("cargo"):
        raise Unavailable("cargo is not there: install Rust to compare with Candle")
    target, way = folder / f"candle-{build}", BUILDS[build]
    flags = {"RUSTFLAGS": way.flags, "CARGO_TARGET_DIR": str(target)}
    _output(["cargo", "build", "--release", "--locked", "--manifest-path", str(way.manifest)], "", flags)
    return target / "release" / "phi-candle"


def _candle(build: str) -> Callable[[Path], list[str]]:
    return lambda folder: [str(candle(folder, build)), "measure"]


def _llama_bench(folder: Path) -> list[str]:
    if not shutil.which("cmake"):
        raise Unavailable("cmake is not there: install it to build llama.cpp's own bench")
    build = folder / "llama.cpp"
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF", "-DBUILD_SHARED_LIBS=OFF"]
    _output(["cmake", "-S", str(sources(folder)), "-B", str(build), *options])
    _output(["cmake", "--build", str(build), "--target", "llama-bench", "--parallel", "2"])
    return [str(build / "bin" / "llama-bench")]


def _llama_bench_figures(command: list[str], work: Work) -> dict[str, Any]:
    def rates(*options: str) -> list[dict[str, Any]]:
        threads = ["-t", str(work.threads)] if work.threads else []
        rows: list[dict[str, Any]] = json.loads(
            _output([*command, "-m", work.model, "-r", "1", "-o", "json", *threads, *options])
        )
        return rows

    prefill = rates("-n", "0", "-p", ",".join(map(str, work.prefill)))
    decode = rates("-p", "0", "-n", str(work.tokens), "-d", ",".join(map(str, work.decode)))
    return {
        "prefill": {str(row["n_prompt"]): row["avg_ts"] for row in prefill},
        "decode": {str(row["n_depth"]): row["avg_ts"] for row in decode},
    }


CONTENDERS = {
    "phi_magic": Contender(_module("ours"), extras=("second turn", "map")),
    "Llama": Contender(_module("llama")),
    "kernel": Contender(_module("kernel")),
    "Candle, native": Contender(_candle("native")),
    "Candle": Contender(_candle("plain")),
    "Candle 0.6": Contender(_candle("tutorial")),
    "llama-bench": Contender(_llama_bench, figures=_llama_bench_figures),
}

_F16 = {"key_type": "f16"}
_FLASH = {"flash_attention": True, "key_type": "q8_0", "value_type": "q8_0"}
_OURS = _module("ours")

#: Our engine run in other ways; what it chooses follows from what these take.
PLANS = {
    "f16 cache": Contender(_OURS, plan=_F16),
    "K q8_0": Contender(_OURS),
    "K q8_0, waiting threads sleep": Contender(_OURS, environment={"OMP_WAIT_POLICY": "passive"}),
    "K q8_0, no mmap": Contender(_OURS, plan={"mmap": False}),
    "repacked, f16 cache": Contender(_OURS, plan={"repack": True, **_F16}),
    "repacked, K q8_0": Contender(_OURS, plan={"repack": True}),
    "flash, K and V q8_0": Contender(_OURS, plan=_FLASH),
    "repacked, flash, K and V q8_0": Contender(_OURS, plan={"repack": True, **_FLASH}),
}
