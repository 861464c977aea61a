"""Several sequences decoded in one pass: the weights are read once for all of them."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PhiError
from ..generation.plan import Plan
from ..interrupt import Interrupted, Stop
from .context import SLICE_MAX, context_params, slices
from .llama import C, complaint, forget_complaints, freed_on_error
from .memory_estimate import CELLS
from .model import Model
from .threads import Threads

#: Passes of this many sequences and more are one class of kernels: a sequence has the same bits at every width from
#: here up, whatever the others are. A pass with fewer is padded.
WIDE = 8


class Batch:
    """The KV caches of several sequences, each in cells of its own; freed with :meth:`close`.

    Args:
        sequences: how many sequences there can be at once, at least ``WIDE``.
        room: how many tokens each can hold. All sequences must have the RoPE factors of this room
            (:meth:`phi_magic.engine.model.Model.rope_factors`): llama.cpp takes one set for the whole context.

    Raises:
        PhiError: llama.cpp could not make room for them.
    """

    def __init__(self, model: Model, plan: Plan, *, sequences: int, room: int) -> None:
        self._model = model
        self._plan = plan
        self._threads = Threads(plan.n_threads)  # for passes over one token of each
        self._stop = Stop()
        self._aborts = C.ggml_abort_callback(lambda _: self._stop.requested)
        self.sequences = max(sequences, WIDE)
        self.lengths = [0] * self.sequences
        params = context_params(plan, self._aborts)
        # One more sequence holds a prefix that answers share. The KV cache is not unified: each sequence has its own
        # cells, so its neighbours cannot change its bits.
        params.n_seq_max = self.sequences + 1
        params.n_ctx = -(-room // CELLS) * CELLS * (self.sequences + 1)
        params.kv_unified = False
        params.n_batch = params.n_ubatch = SLICE_MAX
        self._prefix: list[int] = []
        self._after_prefix: NDArray[np.float32] | None = None
        self._kept: NDArray[np.float32] | None = None  # the logits after a prompt that is the prefix
        forget_complaints()
        self._pointer = C.llama_init_from_model(model.pointer, params)
        if not self._pointer:
            raise PhiError(
                f"llama.cpp could not make room for {self.sequences} sequences of {room} tokens: {complaint()}"
            )
        self._batch: Any = None
        with freed_on_error(self):
            self._memory = C.llama_get_memory(self._pointer)
            self._batch = C.llama_batch_init(SLICE_MAX, 0, 1)

    def close(self) -> None:
        (pointer, self._pointer), (batch, self._batch) = (self._pointer, None), (self._batch, None)
        if batch:
            C.llama_batch_free(batch)
        if pointer:
            C.llama_free(pointer)

    def share(self, prefix: Sequence[int], *, stop: Stop) -> None:
        """Evaluate a prefix of the following prompts once; a prefix that is too short to save time is ignored."""
        self._prefix = list(prefix) if len(prefix) >= WIDE else []
        self._evaluate(self.sequences, self._prefix, 0, stop)
        self._after_prefix = self.logits(-1).copy() if self._prefix else None

    def prefill(self, sequence: int, prompt: Sequence[int], *, stop: Stop) -> int:
        """Evaluate a prompt in a free sequence, and return how many of its tokens were copied from the shared prefix.
        Until the next pass, ``logits(-1)`` are those after the prompt's last token.
        """
        self._forget(sequence, 0)
        shared = len(self._prefix)
        rest = len(prompt) - shared
        if shared and list(prompt[:shared]) == self._prefix and (rest >= WIDE or not rest):
            C.llama_memory_seq_cp(self._memory, self.sequences, sequence, -1, -1)
        else:
            shared = 0
        self._evaluate(sequence, prompt[shared:], shared, stop)
        if not rest and shared:
            self._kept = self._after_prefix
        self.lengths[sequence] = len(prompt)
        return shared

    def decode(self, tokens: Mapping[int, int], *, stop: Stop) -> None:
        """Evaluate one token of each given sequence in one pass; :meth:`logits` of a sequence are then those after its
        token.

        Raises:
            Interrupted: ``stop`` was set; the sequences are as they were before.
        """
        started = time.perf_counter()
        self._use_threads(self._threads.count)
        try:
            self.extend({sequence: [token] for sequence, token in tokens.items()}, stop=stop)
        finally:
            self._use_threads(self._plan.n_threads)
        self._threads.took((time.perf_counter() - started) / max(WIDE, len(tokens)))

    def _use_threads(self, count: int) -> None:
        C.llama_set_n_threads(self._pointer, count, count)

    def extend(self, tokens: Mapping[int, Sequence[int]], *, stop: Stop) -> None:
        """Evaluate the same number of tokens of each given sequence, in one pass.

        If each sequence has ``count`` tokens, :meth:`logits` of ``sequence * count + at`` are then those after a sequence's
        token ``at``.

        Raises:
            Interrupted: ``stop`` was set; the sequences are as they were before.
        """
        # llama.cpp evaluates only neighbouring sequences in one pass. The gaps, and a pass of too few sequences, are
        # filled with tokens that are removed afterwards.
        width = max(WIDE, max(tokens) + 1)
        count = len(next(iter(tokens.values())))
        fillers = [sequence for sequence in range(width) if sequence not in tokens]
        rows = [
            (
                tokens[sequence][at] if sequence in tokens else 0,
                (self.lengths[sequence] if sequence in tokens else 0) + at,
                sequence,
            )
            for sequence in range(width)
            for at in range(count)
        ]
        for sequence in fillers:
            self._forget(sequence, 0)
        try:
            # Ask for the fillers' logits too: llama.cpp computes the end of the graph only for rows with logits, and
            # fewer rows would use other kernels.
            self._pass(rows, range(len(rows)), stop)
        except Interrupted:
            for sequence in tokens:
                self._forget(sequence, self.lengths[sequence])
            raise
        finally:
            for sequence in fillers:
                self._forget(sequence, 0)
        for sequence in tokens:
            self.lengths[sequence] += count

    def copy(self, source: int, target: int) -> None:
        """Copy the KV cache of one sequence to another."""
        self._forget(target, 0)
        C.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        self.lengths[target] = self.lengths[source]

    def logits(self, row: int) -> NDArray[np.float32]:
        """Return the logits of a row of the last pass, shape ``(n_vocab,)``, valid until the next pass; -1 is the last
        row.
        """
        if row == -1 and self._kept is not None:
            return self._kept
        pointer = C.llama_get_logits_ith(self._pointer, row)
        array = (ctypes.c_float * self._model.n_vocab).from_address(ctypes.addressof(pointer.contents))
        return np.asarray(array)

    def _forget(self, sequence: int, length: int) -> None:
        C.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def _evaluate(self, sequence: int, tokens: Sequence[int], start: int, stop: Stop) -> None:
        done = 0
        for size in slices(len(tokens)):
            rows = [(tokens[at], start + at, sequence) for at in range(done, done + size)]
            done += size
            self._pass(rows, [size - 1] if done == len(tokens) else [], stop)

    def _pass(self, rows: Sequence[tuple[int, int, int]], wanted: Collection[int], stop: Stop) -> None:
        """Evaluate rows of token, position and sequence in one pass; keep the logits of the ``wanted`` rows."""
        self._stop = stop
        self._kept = None
        batch = self._batch
        batch.n_tokens = len(rows)
        for at, (token, position, sequence) in enumerate(rows):
            batch.token[at] = token
            batch.pos[at] = position
            batch.n_seq_id[at] = 1
            batch.seq_id[at][0] = sequence
            batch.logits[at] = at in wanted
        forget_complaints()
        status = C.llama_decode(self._pointer, batch)
        if status == 2:
            raise Interrupted
        if status:
            raise RuntimeError(f"llama.cpp could not evaluate a pass of {len(rows)} (status {status}): {complaint()}")
