"""What a quantised cache does to the next token: ``python -m benchmarks.cache_types``.

Divergences from the distribution (temperature 1) with a cache of 16-bit floats, at every position of some text; beside
them what merely rounding in another order does, which is no loss of quality and sets the scale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import stand_in
from benchmarks.__main__ import DEMO, DOCUMENT, FOLDER, insert
from phi_magic import Phi
from phi_magic.engine.context import SLICE_MIN, context_params
from phi_magic.engine.engine import Engine
from phi_magic.engine.llama import C
from phi_magic.engine.model import Model
from phi_magic.engine.plan import choose
from phi_magic.generation.plan import Plan
from phi_magic.gguf.checks import read_header

_LENGTH = 256  # tokens of one text
_SUBJECTS = ("the sea", "ice hockey", "autumn rain", "an old train", "winter light", "bread", "a library", "the moon")
_VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "K q8_0": {"key_type": "q8_0"},
    "flash attention, f16": {"flash_attention": True},
    "flash attention, K and V q8_0": {"flash_attention": True, "key_type": "q8_0", "value_type": "q8_0"},
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache_types", description=__doc__)
    parser.add_argument("--small", action="store_true", help="on the shipped model alone")
    parser.add_argument("--write", action="store_true", help="renew the table in docs/performance.md")
    options = parser.parse_args()
    rows = [
        "| model | cache | mean divergence, nats | worst | same likeliest token |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    rows += _rows("shipped", DEMO, _written(DEMO))
    if not options.small:
        FOLDER.mkdir(parents=True, exist_ok=True)
        path = stand_in.full_size(FOLDER)
        words = np.random.default_rng(0).integers(1000, 30000, size=_LENGTH - 1)
        rows += _rows("stand-in", path, [[1, *words.tolist()]])
    table = "\n".join(rows)
    print(table)
    if options.write:
        insert(DOCUMENT, "cache types", table)
    return 0


def _written(path: Path) -> list[list[int]]:
    """Texts of the model's own: questions and what it answers, as token ids."""
    phi, texts = Phi(model=str(path), max_tokens=80), []
    phi.backend = engine = Engine()
    for seed, subject in enumerate(_SUBJECTS):
        phi(f"Write a haiku about {subject}", seed=seed)
        texts.append(list(engine.loaded[1].tokens[:_LENGTH]))
    phi.unload()
    return texts


def _rows(name: str, path: Path, texts: Sequence[Sequence[int]]) -> Iterator[str]:
    model = Model(path)
    plan = choose(read_header(path))
    plan = replace(plan, flash_attention=False, key_type="f16", value_type="f16")
    try:
        reference = [_log_probabilities(model, plan, text, _LENGTH) for text in texts]
        yield _row(
            name,
            "f16, rounded in another order",
            reference,
            [_log_probabilities(model, plan, t, SLICE_MIN // 2) for t in texts],
        )
        for title, changes in _VARIANTS.items():
            other = replace(plan, **changes)
            yield _row(name, title, reference, [_log_probabilities(model, other, text, _LENGTH) for text in texts])
    finally:
        model.close()


def _row(name: str, title: str, ones: Sequence[NDArray[np.float64]], others: Sequence[NDArray[np.float64]]) -> str:
    one, other = np.concatenate(ones), np.concatenate(others)
    divergence = (np.exp(one) * (one - other)).sum(axis=1)
    same = (one.argmax(axis=1) == other.argmax(axis=1)).mean()
    return f"| {name} | {title} | {divergence.mean():.2g} | {divergence.max():.2g} | {same:.2%} of {len(one)} |"


def _log_probabilities(model: Model, plan: Plan, text: Sequence[int], size: int) -> NDArray[np.float64]:
    """Natural logarithms of the next token's probabilities after each token of a text, shape ``(tokens, n_vocab)``."""
    never = C.ggml_abort_callback(lambda _: False)
    params = context_params(plan, never)
    params.n_ctx = params.n_batch = params.n_ubatch = _LENGTH
    pointer = C.llama_init_from_model(model.pointer, params)
    batch = C.llama_batch_init(_LENGTH, 0, 1)
    found = []
    for start in range(0, len(text), size):
        tokens = text[start : start + size]
        batch.n_tokens = len(tokens)
        for at, token in enumerate(tokens):
            batch.token[at], batch.pos[at], batch.n_seq_id[at] = token, start + at, 1
            batch.seq_id[at][0], batch.logits[at] = 0, True
        if status := C.llama_decode(pointer, batch):
            raise RuntimeError(f"llama.cpp could not evaluate {len(tokens)} tokens (status {status})")
        for at in range(len(tokens)):
            row = np.ctypeslib.as_array(C.llama_get_logits_ith(pointer, at), (model.n_vocab,)).astype(np.float64)
            row -= row.max()
            found.append(row - np.log(np.exp(row).sum()))
    C.llama_batch_free(batch)
    C.llama_free(pointer)
    return np.array(found)


if __name__ == "__main__":
    sys.exit(main())
