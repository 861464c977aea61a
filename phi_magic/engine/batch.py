"""Several sequences decoded in one pass: the weights are read once for all of them."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PhiError
from ..generation.plan import Plan
from ..interrupt import Interrupted, Stop
from .context import SLICE_MAX, SLICE_MIN, context_params, slices
from .grouping import PASS, passes
from .llama import C, complaint, forget_complaints, freed_on_error
from .memory_estimate import CELLS
from .model import Model
from .saved_states import common
from .threads import Threads

#: Passes of this many sequences and more are one class of kernels: a sequence has the same logits at every width from
#: here up, whatever the others are. A pass with fewer is padded.
WIDE = 8


class Batch:
    """The KV caches of several sequences, each in its own cells; freed with :meth:`close`.

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
        # cells, so its neighbours cannot change its logits.
        params.n_seq_max = self.sequences + 1
        self._cells = -(-room // CELLS) * CELLS  # of each sequence
        params.n_ctx = self._cells * (self.sequences + 1)
        params.kv_unified = False
        params.n_batch = params.n_ubatch = SLICE_MAX
        self._prefix: list[int] = []
        self._after_prefix: NDArray[np.float32] | None = None
        self._rows: dict[int, int] = {}  # of the last pass, the first row of each sequence that has logits
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

    def share(self, prompts: Sequence[Sequence[int]], *, stop: Stop) -> None:
        """Evaluate once what all these prompts begin with, for :meth:`prefill`, if that saves time."""
        prefix = list(prompts[0]) if prompts else []
        for prompt in prompts:
            del prefix[common(prefix, prompt) :]
        saved = sum(_padded(len(prompt)) - _padded(len(prompt) - len(prefix)) for prompt in prompts)
        copies = len(prompts) * self._cells // CELLS  # to copy so many cells takes about as long as one token
        self._prefix = prefix if saved - copies > PASS + _padded(len(prefix)) else []
        if self._prefix:
            self._evaluate({self.sequences: self._prefix}, {}, _padded(len(prefix)), stop)
            self._after_prefix = self.logits(self.sequences).copy()

    def prefill(self, prompts: Mapping[int, Sequence[int]], *, stop: Stop) -> Iterator[dict[int, int]]:
        """Evaluate the prompts of free sequences: several short ones in one pass, where their sequences are neighbours.

        Yields:
            after each pass, the sequences whose prompts it ended, with how many of their tokens were copied from the
            shared prefix. Until the next pass, :meth:`logits` of such a sequence are those after its prompt.

        Raises:
            Interrupted: ``stop`` was set; a sequence that was not yielded is still free.
        """
        starts = {sequence: self._held(prompt) for sequence, prompt in prompts.items()}
        rests = {sequence: prompt[starts[sequence] :] for sequence, prompt in prompts.items()}
        lengths = {sequence: _padded(len(rest)) if starts[sequence] else len(rest) for sequence, rest in rests.items()}
        for group in passes(lengths, {sequence: self._cells - start for sequence, start in starts.items()}):
            for sequence in group:
                self._forget(sequence, 0)
                if starts[sequence]:
                    C.llama_memory_seq_cp(self._memory, self.sequences, sequence, -1, -1)
            self._evaluate({sequence: rests[sequence] for sequence in group}, starts, lengths[group[0]], stop)
            for sequence in group:
                self.lengths[sequence] = len(prompts[sequence])
            yield {sequence: starts[sequence] for sequence in group}

    def _held(self, prompt: Sequence[int]) -> int:
        """How many tokens of a prompt are copied from the shared prefix."""
        shared = len(self._prefix)
        fits = shared + _padded(len(prompt) - shared) <= self._cells
        # A prompt that is shorter than a slice goes through other kernels.
        return shared if fits and len(prompt) >= SLICE_MIN and list(prompt[:shared]) == self._prefix else 0

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

        :meth:`logits` of a sequence and ``at`` are then those after its token ``at``.

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
            self._rows = {sequence: count * sequence for sequence in tokens}
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

    def forget_after(self, sequence: int, length: int) -> None:
        """Keep the first ``length`` tokens of a sequence alone."""
        self._forget(sequence, length)
        self.lengths[sequence] = length

    def logits(self, sequence: int, at: int = 0) -> NDArray[np.float32]:
        """Return logits of the last pass, shape ``(n_vocab,)``, valid until the next one: those after the first token of a
        sequence for which it was asked, or ``at`` tokens later.
        """
        if not self._rows and self._after_prefix is not None:  # the prompt is the prefix
            return self._after_prefix
        pointer = C.llama_get_logits_ith(self._pointer, self._rows[sequence] + at)
        array = (ctypes.c_float * self._model.n_vocab).from_address(ctypes.addressof(pointer.contents))
        return np.asarray(array)

    def _forget(self, sequence: int, length: int) -> None:
        C.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def _evaluate(
        self, tokens: Mapping[int, Sequence[int]], starts: Mapping[int, int], length: int, stop: Stop
    ) -> None:
        """Evaluate tokens of some sequences in passes over ``length`` tokens of each, with logits after the last one.

        A token has the same keys, values and logits whatever comes after it, so a sequence with fewer tokens is filled up with others, which
        are removed again.

        Args:
            starts: how many tokens a sequence holds before, 0 if left out.
        """
        done = 0
        self._rows = {}
        for size in slices(length):
            rows: list[tuple[int, int, int]] = []
            last: dict[int, int] = {}
            for sequence, own in sorted(tokens.items()):
                start = starts.get(sequence, 0)
                if done < len(own) <= done + size:
                    last[sequence] = len(rows) + len(own) - done - 1
                rows += [(own[at] if at < len(own) else 0, start + at, sequence) for at in range(done, done + size)]
            done += size
            self._pass(rows, set(last.values()), stop)
            self._rows = last
        for sequence, own in tokens.items():
            if len(own) < length:
                self._forget(sequence, starts.get(sequence, 0) + len(own))

    def _pass(self, rows: Sequence[tuple[int, int, int]], wanted: Container[int], stop: Stop) -> None:
        """Evaluate rows of token, position and sequence in one pass; keep the logits of the ``wanted`` rows."""
        self._stop = stop
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


def _padded(count: int) -> int:
    """How many tokens a slice has to have for so many, so that it goes through the kernels of a slice."""
    return max(count, SLICE_MIN) if count else 0
