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
    """Lanes, each the memory of one sequence, apart from the others; freed with :meth:`close`.

    Args:
        lanes: how many sequences there can be at once, at least ``WIDE``.
        room: how many tokens each can hold. All sequences must have the RoPE factors of this room
            (:meth:`phi_magic.engine.model.Model.rope_factors`): llama.cpp takes one set for the whole context.

    Raises:
        PhiError: llama.cpp could not make room for them.
    """

    def __init__(self, model: Model, plan: Plan, *, lanes: int, room: int) -> None:
        self._model = model
        self._plan = plan
        self._threads = Threads(plan.n_threads)  # for passes over one token of each
        self._stop = Stop()
        self._aborts = C.ggml_abort_callback(lambda _: self._stop.requested)
        self.lanes = max(lanes, WIDE)
        self.lengths = [0] * self.lanes
        params = context_params(plan, self._aborts)
        # One lane more keeps a prefix that answers share. Each has cells of its own (not unified): one sequence's
        # neighbours must not change its bits.
        params.n_seq_max = self.lanes + 1
        params.n_ctx = -(-room // CELLS) * CELLS * (self.lanes + 1)
        params.kv_unified = False
        params.n_batch = params.n_ubatch = SLICE_MAX
        self._prefix: list[int] = []
        self._after_prefix: NDArray[np.float32] | None = None
        self._kept: NDArray[np.float32] | None = None  # the logits of a prompt that took no pass
        forget_complaints()
        self._pointer = C.llama_init_from_model(model.pointer, params)
        if not self._pointer:
            raise PhiError(f"llama.cpp could not make room for {self.lanes} sequences of {room} tokens: {complaint()}")
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
        """Evaluate what the prompts to come begin with, once; too short a prefix is not worth it and is ignored."""
        self._prefix = list(prefix) if len(prefix) >= WIDE else []
        self._evaluate(self.lanes, self._prefix, 0, stop)
        self._after_prefix = self.logits(-1).copy() if self._prefix else None

    def prefill(self, lane: int, prompt: Sequence[int], *, stop: Stop) -> int:
        """Put a prompt into a free lane; returns how many of its tokens the shared prefix had.

        ``logits(-1)`` are those after its last token, until the next pass.
        """
        self._forget(lane, 0)
        shared = len(self._prefix)
        rest = len(prompt) - shared
        if shared and list(prompt[:shared]) == self._prefix and (rest >= WIDE or not rest):
            C.llama_memory_seq_cp(self._memory, self.lanes, lane, -1, -1)
        else:
            shared = 0
        self._evaluate(lane, prompt[shared:], shared, stop)
        if not rest and shared:
            self._kept = self._after_prefix
        self.lengths[lane] = len(prompt)
        return shared

    def decode(self, tokens: Mapping[int, int], *, stop: Stop) -> None:
        """Evaluate one token for each of some lanes, in one pass; :meth:`logits` of a lane are then those after it.

        Raises:
            Interrupted: ``stop`` was set; the lanes are as they were before.
        """
        started = time.perf_counter()
        self._use_threads(self._threads.count)
        try:
            self.extend({lane: [token] for lane, token in tokens.items()}, stop=stop)
        finally:
            self._use_threads(self._plan.n_threads)
        self._threads.took((time.perf_counter() - started) / max(WIDE, len(tokens)))

    def _use_threads(self, count: int) -> None:
        C.llama_set_n_threads(self._pointer, count, count)

    def extend(self, tokens: Mapping[int, Sequence[int]], *, stop: Stop) -> None:
        """Evaluate as many tokens for each of some lanes, in one pass.

        :meth:`logits` of ``lane * count + at`` are then those after the token ``at`` of a lane, where each has ``count``.

        Raises:
            Interrupted: ``stop`` was set; the lanes are as they were before.
        """
        # llama.cpp keeps in one pass only lanes that follow one another: the gaps, and a pass that is too narrow, are
        # filled with tokens that are forgotten again.
        width = max(WIDE, max(tokens) + 1)
        count = len(next(iter(tokens.values())))
        fillers = [lane for lane in range(width) if lane not in tokens]
        rows = [
            (tokens[lane][at] if lane in tokens else 0, (self.lengths[lane] if lane in tokens else 0) + at, lane)
            for lane in range(width)
            for at in range(count)
        ]
        for lane in fillers:
            self._forget(lane, 0)
        try:
            # Logits for the fillers too: llama.cpp computes the end of the graph for the wanted rows alone, and fewer of
            # them would go through other kernels.
            self._pass(rows, range(len(rows)), stop)
        except Interrupted:
            for lane in tokens:
                self._forget(lane, self.lengths[lane])
            raise
        finally:
            for lane in fillers:
                self._forget(lane, 0)
        for lane in tokens:
            self.lengths[lane] += count

    def copy(self, source: int, target: int) -> None:
        """Give a lane the tokens that another one has."""
        self._forget(target, 0)
        C.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        self.lengths[target] = self.lengths[source]

    def logits(self, row: int) -> NDArray[np.float32]:
        """A view, shape ``(n_vocab,)``, valid until the next pass, of a row of it; -1 is the last token's."""
        if row == -1 and self._kept is not None:
            return self._kept
        pointer = C.llama_get_logits_ith(self._pointer, row)
        array = (ctypes.c_float * self._model.n_vocab).from_address(ctypes.addressof(pointer.contents))
        return np.asarray(array)

    def _forget(self, lane: int, length: int) -> None:
        C.llama_memory_seq_rm(self._memory, lane, length, -1)

    def _evaluate(self, lane: int, tokens: Sequence[int], start: int, stop: Stop) -> None:
        done = 0
        for size in slices(len(tokens)):
            rows = [(tokens[at], start + at, lane) for at in range(done, done + size)]
            done += size
            self._pass(rows, [size - 1] if done == len(tokens) else [], stop)

    def _pass(self, rows: Sequence[tuple[int, int, int]], wanted: Collection[int], stop: Stop) -> None:
        """One pass over rows of token, position and lane; logits are kept for the ``wanted`` ones."""
        self._stop = stop
        self._kept = None
        batch = self._batch
        batch.n_tokens = len(rows)
        for at, (token, position, lane) in enumerate(rows):
            batch.token[at] = token
            batch.pos[at] = position
            batch.n_seq_id[at] = 1
            batch.seq_id[at][0] = lane
            batch.logits[at] = at in wanted
        forget_complaints()
        status = C.llama_decode(self._pointer, batch)
        if status == 2:
            raise Interrupted
        if status:
            raise RuntimeError(f"llama.cpp could not evaluate a pass of {len(rows)} (status {status}): {complaint()}")
