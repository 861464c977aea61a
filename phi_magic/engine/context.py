"""A context of llama.cpp with one sequence: its KV cache, and the logits after it."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PhiError
from ..generation.plan import Plan
from ..interrupt import Interrupted, Stop
from .llama import C, complaint, forget_complaints, freed_on_error
from .memory_estimate import CELLS
from .model import Model
from .saved_states import WORTH, SavedState, SavedStates, common
from .threads import Threads

#: A pass over fewer tokens goes through other kernels, whose sums round differently: on a CPU, without repacked
#: weights, every slicing of a prompt gives the same logits as long as each slice has at least this many tokens.
SLICE_MIN = 8
SLICE_MAX = 512


class Context:
    """The KV cache of one sequence, which grows as it is needed; freed with :meth:`close`.

    The promise is that the logits after a prompt depend on the prompt alone. So a prompt is always evaluated in slices
    that use the same kernels, however much of it the KV cache holds. The tokens of an answer were decoded singly and
    are never reused as part of a prompt: only the first ``reusable`` tokens of the KV cache are.

    A model with two sets of RoPE factors has two kinds of keys, and llama.cpp chooses by the size of the context. Here
    the tokens that a request needs decide. If the context has the other kind of keys, a new one is made, and none of
    the old keys are kept.

    On a GPU slices are not alike (:attr:`Plan.slices_alike`): there a prompt is evaluated from its beginning, every time.
    """

    def __init__(self, model: Model, plan: Plan) -> None:
        self._model = model
        self.plan = plan
        self._stop = Stop()
        # llama.cpp calls these for as long as the context lives.
        self._aborts = C.ggml_abort_callback(lambda _: self._stop.requested)
        self._pointer: Any = None
        self.size = 0
        self.tokens: list[int] = []
        self.reusable = 0
        self._faithful = 0  # tokens whose keys and values were decoded singly
        self._saved = SavedStates()
        self._threads = Threads(plan.n_threads)  # threads for passes over one token; a prompt's slices use all of them

    def fits(self, room: int) -> bool:
        """Whether a request that needs ``room`` tokens can use the context as it is."""
        return room <= self.size and self._model.rope_factors(room) == self._factors

    @property
    def _factors(self) -> str | None:
        return self._model.rope_factors(self.size)

    def close(self) -> None:
        """Free the KV cache and all saved states; both are made again when they are needed."""
        self._saved.clear()
        self._free()

    def drop_saved_states(self) -> None:
        """Free the saved KV states."""
        self._saved.clear()

    def prefill(
        self,
        prompt: Sequence[int],
        *,
        room: int,
        stop: Stop,
        exact: bool = True,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> int:
        """Make the KV cache hold exactly ``prompt``, evaluating only what is not there yet.

        Args:
            prompt: token ids, at least one.
            room: how many tokens the KV cache must have room for, the prompt's included.
            stop: ends the pass from inside with :class:`Interrupted`; what was evaluated before stays usable.
            exact: false to reuse decoded tokens as part of a prompt, and to evaluate slices of any length; the logits
                may then differ in their last digits from those of a fresh context.
            on_progress: called before every slice with the tokens done and the tokens in all.

        Returns:
            how many of the prompt's tokens were already there.
        """
        self._reserve(room)
        cached = self._kept(prompt, len(prompt) - 1, exact=exact)
        done = cached
        for size in slices(len(prompt) - cached):
            on_progress(done, len(prompt))
            self._pass(prompt[done : done + size], stop)
            if self.reusable == done and size >= SLICE_MIN:
                self.reusable += size
            done += size
        return cached

    def follow(
        self,
        prompt: Sequence[int],
        generated: Sequence[int],
        *,
        room: int,
        stop: Stop,
        exact: bool = True,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> int:
        """Make the KV cache hold a prompt and tokens decoded after it, as decoding them one by one would.

        Tokens that the KV cache holds of both are kept: a few tokens back or forward cost a few tokens. Without
        ``generated`` it is :meth:`prefill`; the other arguments are explained there.

        Returns:
            how many of the prompt's tokens were already there.
        """
        whole = [*prompt, *generated]
        held = min(common(self.tokens, whole), self._faithful)
        if generated and self.reusable == len(prompt) <= held and self.fits(room):
            self._cut(min(held, len(whole) - 1))  # only the last pass has logits: decode at least one token
            cached = len(prompt)
        else:
            cached = self.prefill(prompt, room=room, stop=stop, exact=exact, on_progress=on_progress)
        for token in whole[len(self.tokens) :]:
            self.append(token, stop=stop)
        return cached

    def rows_after(
        self, prompt: Sequence[int], given: Sequence[int], *, stop: Stop
    ) -> tuple[int, Iterator[NDArray[np.float32]]]:
        """Evaluate a prompt and a text after it, both as a prompt is, for the logits before each token of the text.

        Returns:
            how many of the prompt's tokens were already there, and the rows, each of shape ``(n_vocab,)`` and valid
            until the next one is asked for.
        """
        whole = [*prompt, *given[:-1]]
        self._reserve(len(whole) + 1)
        cached = self._kept(whole, len(prompt) - 1)
        return cached, self._rows(whole, len(prompt) - 1, stop)

    def _rows(self, whole: Sequence[int], first: int, stop: Stop) -> Iterator[NDArray[np.float32]]:
        """Evaluate the tokens of ``whole`` that the KV cache lacks, and yield the logits after each token from
        ``first`` on.
        """
        for size in slices(len(whole) - len(self.tokens)):
            done = len(self.tokens)
            self._pass(whole[done : done + size], stop, rows=True)
            if self.reusable == done and size >= SLICE_MIN:
                self.reusable += size
            yield from (self.row(at - done) for at in range(max(first, done), done + size))

    def append(self, token: int, *, stop: Stop) -> None:
        """Evaluate one generated token."""
        started = time.perf_counter()
        C.llama_set_n_threads(self._pointer, self._threads.count, self.plan.n_threads)
        self._pass([token], stop)
        self._threads.took(time.perf_counter() - started)

    def extend(self, tokens: Sequence[int], *, stop: Stop) -> None:
        """Evaluate some tokens in one pass, with logits after each: :meth:`row`."""
        self._pass(tokens, stop, rows=True)

    def forget_after(self, length: int) -> None:
        """Keep the first ``length`` tokens alone."""
        self._cut(length)

    def row(self, row: int) -> NDArray[np.float32]:
        """A view, shape ``(n_vocab,)``, of the scores after a token of :meth:`extend`; valid until the next pass."""
        pointer = C.llama_get_logits_ith(self._pointer, row)
        array = (ctypes.c_float * self._model.n_vocab).from_address(ctypes.addressof(pointer.contents))
        return np.asarray(array)

    @property
    def logits(self) -> NDArray[np.float32]:
        """A view, shape ``(n_vocab,)``, of the scores after the last token; valid until the next pass."""
        return self.row(-1)

    def _kept(self, tokens: Sequence[int], most: int, *, exact: bool = True) -> int:
        """Keep what the KV cache or a saved state holds of the beginning of ``tokens`` and may be used, and remove the
        rest.

        Returns:
            how many tokens were kept, at most ``most``.
        """
        cached = 0
        if self.plan.slices_alike or not exact:
            self._swap(tokens)
            cached = min(most, self._shared(tokens) if exact else common(self.tokens, tokens))
        self._cut(cached)
        return cached

    def _shared(self, prompt: Sequence[int]) -> int:
        """How many leading tokens can be kept so that the rest is no shorter than a slice may be."""
        return max(0, min(common(self.tokens, prompt), self.reusable, len(prompt) - SLICE_MIN))

    def _cut(self, length: int) -> None:
        if length < len(self.tokens):
            if not C.llama_memory_seq_rm(C.llama_get_memory(self._pointer), 0, length, -1):
                raise RuntimeError(f"llama.cpp could not go back to {length} tokens: {complaint()}")
            del self.tokens[length:]
        self.reusable = min(self.reusable, length)
        self._faithful = min(self._faithful, length)

    def _pass(self, tokens: Sequence[int], stop: Stop, *, rows: bool = False) -> None:
        self._stop = stop
        forget_complaints()
        array = (C.llama_token * len(tokens))(*tokens)
        batch = C.llama_batch_get_one(array, len(tokens))
        if rows:  # otherwise only of the last token
            batch.logits = (ctypes.c_int8 * len(tokens))(*[1] * len(tokens))
        status = C.llama_decode(self._pointer, batch)
        if status == 0:
            if self._faithful == len(self.tokens) and (not rows or self.plan.decodes_alike(len(tokens))):
                self._faithful += len(tokens)
            self.tokens += tokens
            return
        # An interrupted pass may have written some of its tokens to the KV cache: remove them.
        C.llama_memory_seq_rm(C.llama_get_memory(self._pointer), 0, len(self.tokens), -1)
        if status == 2:
            raise Interrupted
        raise RuntimeError(f"llama.cpp could not evaluate {len(tokens)} tokens (status {status}): {complaint()}")

    def _reserve(self, room: int) -> None:
        """Make the KV cache at least ``room`` tokens large; what it holds is kept if the RoPE factors stay the same."""
        if self.fits(room):
            return
        size = -(-room // CELLS) * CELLS
        params = context_params(self.plan, self._aborts)
        params.n_ctx = size
        params.n_batch = params.n_ubatch = min(size, SLICE_MAX)
        params.n_seq_max = 1
        forget_complaints()
        kept = self._copy()
        if kept and kept.factors != self._model.rope_factors(room):
            if len(kept.tokens) >= WORTH:
                self._saved.put(kept)
            kept = None
        self._free()  # before the new context is made, so that both never exist at the same time
        self._pointer = C.llama_init_from_model(self._model.pointer, params)
        if not self._pointer:
            raise PhiError(
                f"llama.cpp could not make a context of {size} tokens ({complaint()}); "
                "try a smaller n_ctx or max_tokens"
            )
        self.size = C.llama_n_ctx(self._pointer)
        if kept:
            self._restore(kept)

    def _free(self) -> None:
        pointer, self._pointer = self._pointer, None  # set to None first: a failure must not free it twice
        self.size, self.tokens, self.reusable, self._faithful = 0, [], 0, 0
        if pointer:
            C.llama_free(pointer)

    def _swap(self, prompt: Sequence[int]) -> None:
        """Save the tokens that the prompt would remove, and restore a saved state that it begins with, if that saves
        time.
        """
        shared = min(common(self.tokens, prompt), self.reusable)
        better = self._saved.best(prompt, shared, self._factors)
        if self.reusable - shared >= WORTH and (state := self._copy()):
            self._saved.put(state)
        if better and len(better.tokens) <= self.size:
            self._restore(better)

    def _copy(self) -> SavedState | None:
        """Copy the reusable part of the KV cache; what was decoded after it is removed.

        Returns None for a model with sliding-window attention: llama.cpp does not save what the window has left behind.
        """
        if not self.reusable or C.llama_model_n_swa(self._model.pointer):
            return None
        self._cut(self.reusable)
        return SavedState.of(self._pointer, self.tokens, self._factors)

    def _restore(self, state: SavedState) -> None:
        self.tokens, self.reusable, self._faithful = [], 0, 0
        with freed_on_error(self):  # otherwise the KV cache would hold tokens that self.tokens does not list
            there = state.restore(self._pointer)
        self.tokens = list(state.tokens) if there else []
        self.reusable = self._faithful = len(self.tokens)


def context_params(plan: Plan, aborts: Any) -> Any:
    """llama.cpp's parameters of a context that follows a plan; ``aborts`` must outlive the context."""
    params = C.llama_context_default_params()
    params.n_threads = params.n_threads_batch = plan.n_threads
    params.flash_attn_type = int(plan.flash_attention)
    params.type_k = getattr(C, f"GGML_TYPE_{plan.key_type.upper()}")
    # Without layers on a GPU llama.cpp 0.3.36 would still send large passes there, whose kernels round differently.
    params.op_offload = params.offload_kqv = plan.n_gpu_layers != 0
    params.type_v = getattr(C, f"GGML_TYPE_{plan.value_type.upper()}")
    params.abort_callback = aborts
    params.no_perf = True
    return params


def slices(count: int) -> list[int]:
    """Cut ``count`` tokens into passes of at most ``SLICE_MAX`` and, where there are that many, at least ``SLICE_MIN``."""
    sizes = [SLICE_MAX] * (count // SLICE_MAX)
    rest = count % SLICE_MAX
    if rest and sizes and rest < SLICE_MIN:
        sizes[-1] -= SLICE_MIN - rest
        rest = SLICE_MIN
    return sizes + [rest] * bool(rest)
