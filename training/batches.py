"""Packs conversations into rows of tokens, several to a row, and rows into batches."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.corpus import conversations
from training.tokenizer import Tokenizer

# Rows of three lengths: attention costs the square of a row, and nearly all conversations are short.
LENGTHS = (128, 384, 1024)
BATCH_TOKENS = 3072
ANSWERS = BATCH_TOKENS * 62 // 100  # six tokens in ten are answers: the vocabulary's scores are needed only there

Tokens = npt.NDArray[np.int32]


class Batch(NamedTuple):
    """Rows of packed conversations, ``(rows, length)``, and what is to be learnt of them, ``(ANSWERS,)``."""

    tokens: Tokens
    positions: Tokens
    segments: Tokens
    places: Tokens  # in the flattened rows: where the next token is one that the assistant writes
    targets: Tokens
    weights: npt.NDArray[np.float32]  # 0 where there are fewer answers than room for them


class _Row:
    def __init__(self, length: int) -> None:
        self.arrays = np.zeros((5, length), np.int32)
        self.used = 0
        self.documents = 0

    def add(self, tokens: list[int], answers: list[bool]) -> None:
        """Append one document: predict token i + 1 from token i, where the assistant writes it."""
        count = len(tokens) - 1
        self.documents += 1
        part = self.arrays[:, self.used : self.used + count]
        part[0], part[1], part[2] = tokens[:-1], tokens[1:], np.arange(count)
        part[3], part[4] = self.documents, answers[1:]
        self.used += count


def pack(documents: Iterator[tuple[list[int], list[bool]]], total: int) -> dict[int, list[_Row]]:
    """Rows of each length that hold ``total`` tokens together. Each document goes into the first row with room."""
    full: dict[int, list[_Row]] = {length: [] for length in LENGTHS}
    open_rows: dict[int, list[_Row]] = {length: [] for length in LENGTHS}
    written = 0
    while written < total:
        tokens, answers = next(documents)
        if len(tokens) - 1 > LENGTHS[-1]:
            continue
        length = next(length for length in LENGTHS if len(tokens) - 1 <= length)
        rows = open_rows[length]
        row = next((row for row in rows if row.used + len(tokens) - 1 <= length), None)
        if row is None:
            row = _Row(length)
            rows.append(row)
            if len(rows) > 24:
                full[length].append(rows.pop(0))
                written += length
        row.add(tokens, answers)
    return full


def batches(tokenizer: Tokenizer, steps: int, seed: int) -> list[Batch]:
    """At least ``steps`` batches in a random order, the same for the same seed."""
    documents = (tokenizer.encode_conversation(talk) for talk in conversations(seed))
    rng = random.Random(seed)
    found = []
    for length, rows in pack(documents, (steps + 3 * len(LENGTHS)) * BATCH_TOKENS).items():
        rng.shuffle(rows)
        size = BATCH_TOKENS // length
        starts = range(0, len(rows) - size + 1, size)
        found += [_batch([row.arrays for row in rows[start : start + size]]) for start in starts]
    rng.shuffle(found)
    return found


def _batch(rows: list[Tokens]) -> Batch:
    tokens, targets, positions, segments, answers = np.stack(rows, axis=1)
    places = np.flatnonzero(answers)[:ANSWERS].astype(np.int32)
    weights = np.zeros(ANSWERS, np.float32)
    weights[: len(places)] = 1
    places = np.pad(places, (0, ANSWERS - len(places)))
    return Batch(tokens, positions, segments, places, targets.ravel()[places], weights)
