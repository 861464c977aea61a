"""Trains the model: Muon for the matrices of the blocks, Adam for the rest, a learning rate that falls to zero."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from optax import contrib

from training.batches import Batch, batches
from training.model import Params, Shape, hidden_states, initialise
from training.tokenizer import Tokenizer

MUON_RATE = 0.02
ADAM_RATE = 4e-3
WARMUP, DECAY = 100, 0.6  # steps; share of the steps over which the rate falls
# Logits have no natural zero, but the repeat penalty divides them by 1.1: with log-sum-exp held near 8 the penalty
# nudges a sure token and does not overturn it.
LOG_NORMALISER, LOG_NORMALISER_WEIGHT = 8.0, 1e-3
CHECKPOINT_EVERY = 500


def loss(params: Params, shape: Shape, batch: Batch) -> Array:
    """Cross-entropy in nats per token that the assistant writes."""
    hidden = hidden_states(params, shape, batch.tokens, batch.positions, batch.segments)
    logits = hidden.reshape(-1, shape.width)[batch.places] @ params["output"]
    normaliser = jax.nn.logsumexp(logits, axis=-1)
    target = jnp.take_along_axis(logits, batch.targets[:, None], axis=-1)[:, 0]
    each = normaliser - target + LOG_NORMALISER_WEIGHT * (normaliser - LOG_NORMALISER) ** 2
    return (each * batch.weights).sum() / batch.weights.sum()


def optimiser(steps: int) -> optax.GradientTransformation:
    """Muon (Newton-Schulz momentum) learns such a small model in about half of Adam's steps."""

    def rate(peak: float) -> optax.Schedule:
        return lambda step: peak * jnp.minimum(1.0, jnp.minimum((step + 1) / WARMUP, (steps - step) / (DECAY * steps)))

    def labels(params: Params) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: "muon" if path[0].key == "blk" and leaf.ndim == 2 else "adam", params
        )

    kinds = {"muon": contrib.muon(rate(MUON_RATE), weight_decay=0.01), "adam": optax.adam(rate(ADAM_RATE), b2=0.98)}
    return optax.chain(optax.clip_by_global_norm(1.0), optax.multi_transform(kinds, labels))


def train(shape: Shape, tokenizer: Tokenizer, steps: int, seed: int, checkpoint: Path | None = None) -> Params:
    """Train for ``steps`` steps. With a ``checkpoint`` path a run that was cut off goes on from there."""
    params = initialise(shape, jax.random.key(seed))
    transform = optimiser(steps)
    state = transform.init(params)

    def update(params: Params, state: Any, batch: Batch) -> tuple[Params, Any, Array]:
        value, gradient = jax.value_and_grad(loss)(params, shape, batch)
        updates, state = transform.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    step = jax.jit(update)
    data = batches(tokenizer, steps, seed)
    first = 0
    if checkpoint is not None and checkpoint.exists():
        first, (params, state) = _restore(checkpoint, (params, state))
    recent: list[Array] = []
    began = time.monotonic()
    for number in range(first, steps):
        params, state, value = step(params, state, data[number])
        recent.append(value)
        if (number + 1) % 100 == 0 or number + 1 == steps:
            pace = (time.monotonic() - began) / (number + 1 - first)
            mean = float(np.mean(jax.device_get(recent)))
            sys.stdout.write(f"step {number + 1}/{steps}  loss {mean:.4f}  {pace:.2f} s a step\n")
            sys.stdout.flush()
            recent.clear()
        if checkpoint is not None and (number + 1) % CHECKPOINT_EVERY == 0:
            _save(checkpoint, number + 1, (params, state))
    return params


def _save(path: Path, step: int, tree: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(part, step, *jax.tree.leaves(tree))
    part.replace(path)


def _restore(path: Path, like: Any) -> tuple[int, Any]:
    with np.load(path) as arrays:
        step, *leaves = (arrays[f"arr_{i}"] for i in range(len(arrays.files)))
    return int(step), jax.tree.unflatten(jax.tree.structure(like), leaves)
