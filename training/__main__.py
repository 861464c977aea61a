"""Makes the shipped model: ``python -m training`` writes ``phi_magic/demo/phi-demo.gguf``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from training import export, tokenizer
from training.corpus import vocabulary_talks
from training.model import Shape
from training.recipe import SEED, STEPS, VOCABULARY_TALKS
from training.train import train

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "phi_magic" / "demo" / "phi-demo.gguf")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of corpus and weights (default %(default)s)")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "build" / "training.npz")
    parser.add_argument("--fresh", action="store_true", help="do not go on from a checkpoint")
    options = parser.parse_args()

    began = time.monotonic()
    if options.fresh:
        options.checkpoint.unlink(missing_ok=True)
    vocabulary = tokenizer.train(vocabulary_talks(options.seed, VOCABULARY_TALKS))
    shape = Shape(vocab=vocabulary.size)
    sys.stdout.write(f"{shape.parameters:,} parameters, {options.steps} steps\n")
    params = train(shape, vocabulary, options.steps, options.seed, options.checkpoint)
    export.write(options.out, params, shape, vocabulary)
    options.checkpoint.unlink(missing_ok=True)
    minutes = (time.monotonic() - began) / 60
    sys.stdout.write(f"{options.out.name}: {options.out.stat().st_size:,} bytes in {minutes:.1f} minutes\n")


if __name__ == "__main__":
    main()
