"""The numbers of the shipped model's run: what is trained, for how long, from which seed."""

from __future__ import annotations

SEED = 1
STEPS = 4600
VOCABULARY_TALKS = 40_000  # conversations that the vocabulary is learnt from
CORPUS_TALKS = 250_000  # more conversations than a run of STEPS reads
