"""A model in memory, and its vocabulary: text to token ids and back."""

from __future__ import annotations

import ctypes
import hashlib
import re
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Literal

from ..errors import PhiError
from ..generation.thoughts import TAGS, tags_in
from ..interrupt import Interrupted, Stop
from ..prompt.rendering import unused_character
from .llama import C, complaint, forget_complaints, freed_on_error
from .memory_estimate import CELLS

_MOST_SIZES = 20_000
_MARKER = re.compile(r"<\|[^|\s]+\|>")
_REASONS = re.compile("reasoning|thinking|thinker", re.IGNORECASE)
_TAGS = {tag for tags in TAGS for tag in (tags.opening, tags.closing)}
_CONTROL = C.LLAMA_TOKEN_ATTR_CONTROL | C.LLAMA_TOKEN_ATTR_UNKNOWN


class Model:
    """Weights and vocabulary, freed with :meth:`close`.

    Args:
        path: a GGUF file.
        n_gpu_layers: how many layers go to the GPU; negative: all.
        repack: copy the weights into an order that suits the processor (faster decode, slower to load).
        mmap: map the file rather than read it.
        border: :attr:`phi_magic.gguf.header.Header.rope_border` of the file.
        vocabulary_of: tokens of context that the model was trained for: read the vocabulary alone, which takes a moment
            (llama.cpp then does not read that number itself). None: read all.
        stop: ends loading with :class:`Interrupted`.
        on_progress: called with the fraction loaded.

    Raises:
        PhiError: llama.cpp refused the file, or the model is recurrent.
    """

    def __init__(
        self,
        path: Path,
        *,
        n_gpu_layers: int = 0,
        repack: bool = False,
        mmap: bool = True,
        border: int | None = None,
        vocabulary_of: int | None = None,
        stop: Stop | None = None,
        on_progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        stop = stop or Stop()
        self.border = border
        forget_complaints()

        def progress(fraction: float, _: ctypes.c_void_p) -> bool:
            on_progress(fraction)
            return not stop.requested

        params = C.llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers
        params.use_extra_bufts = repack
        params.load_mode = C.LLAMA_LOAD_MODE_MMAP if mmap else C.LLAMA_LOAD_MODE_NONE
        params.vocab_only = vocabulary_of is not None
        params.progress_callback = C.llama_progress_callback(progress)  # kept alive by the structure until we return
        self.pointer = C.llama_model_load_from_file(str(path).encode(), params)
        if not self.pointer:
            if stop.requested:
                raise Interrupted
            raise PhiError(f"{path.name} cannot be loaded: {complaint()}")
        with freed_on_error(self):
            stop.check()
            if C.llama_model_is_recurrent(self.pointer) or C.llama_model_is_hybrid(self.pointer):
                raise PhiError(
                    f"{path.name} keeps a state instead of the text that it has read, which cannot go back to an earlier "
                    "turn; use a model of attention alone, such as `phi-3-mini-4k`"
                )
            self.n_ctx_train: int = vocabulary_of or C.llama_model_n_ctx_train(self.pointer)
            self._read(path)

    def _read(self, path: Path) -> None:
        """What the vocabulary says of itself."""
        self.path = path
        self.vocab = C.llama_model_get_vocab(self.pointer)
        self.n_vocab: int = C.llama_vocab_n_tokens(self.vocab)
        self.chat_template: str | None = _decoded(C.llama_model_chat_template(self.pointer, None))
        self.bos: int | None = _known(C.llama_vocab_bos(self.vocab))
        self.eos: int | None = _known(C.llama_vocab_eos(self.vocab))
        self.controls = self._controls()
        found = tags_in(self.chat_template or "", self.controls)
        #: Between which a model thinks that does.
        self.tags = found or TAGS[-1]
        #: Whether it is a reasoning model, which needs room for thoughts. Some, such as Phi-4-mini-reasoning, have their
        #: tags neither in the template nor in the vocabulary, and tell it by their name alone.
        self.thinks = found is not None or bool(_REASONS.search(f"{path.name} {self._metadata('general.name')}"))
        self._attributes = {t: C.llama_vocab_get_attr(self.vocab, t) for t in self.controls.values()}
        self._longest = max(map(len, self.controls), default=1)
        self._sizes: dict[bytes, int] = {}  # by the hash of the text
        self._buffer = ctypes.create_string_buffer(512)

    def _metadata(self, key: str) -> str:
        buffer = ctypes.create_string_buffer(256)
        C.llama_model_meta_val_str(self.pointer, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    def close(self) -> None:
        pointer, self.pointer = self.pointer, None
        if pointer:
            C.llama_model_free(pointer)

    def _controls(self) -> dict[str, int]:
        """Every token that means something other than its text: text to id.

        A GGUF may call its turn markers user-defined rather than control tokens: what its template writes, what ends an
        answer, what looks like a marker (a template may put it together), and tags around thoughts count too.
        """
        found = {}
        for token in range(self.n_vocab):
            attribute = C.llama_vocab_get_attr(self.vocab, token)
            user_defined = attribute & C.LLAMA_TOKEN_ATTR_USER_DEFINED
            if not (attribute & _CONTROL or user_defined):
                continue
            text = C.llama_vocab_get_text(self.vocab, token).decode("utf-8", "replace")
            if not text.strip():
                continue
            written = text in (self.chat_template or "") or text in _TAGS
            marker = _MARKER.fullmatch(text) or written or self.ends(token)
            if attribute & _CONTROL or (user_defined and marker):
                found[text] = token
        return found

    def rope_factors(self, room: int) -> Literal["short", "long"] | None:
        """Say which RoPE factors a request gets that needs ``room`` tokens of context; None where there is one set.

        llama.cpp chooses by the size of the context that it allocates, which is a multiple of ``CELLS``. So a border
        between two multiples acts like the lower one.
        """
        if self.border is None:
            return None
        return "long" if room > self.border // CELLS * CELLS else "short"

    def ends(self, token: int) -> bool:
        """Whether the token ends an answer; the GGUF says so."""
        return bool(C.llama_vocab_is_eog(self.vocab, token))

    @cached_property
    def end_tokens(self) -> list[int]:
        """Every token that ends an answer."""
        return [token for token in range(self.n_vocab) if self.ends(token)]

    def piece(self, token: int) -> bytes:
        """The bytes a token stands for; a control token stands for none."""
        if token in self._attributes and self._attributes[token] & C.LLAMA_TOKEN_ATTR_USER_DEFINED:
            return b""
        size = C.llama_token_to_piece(self.vocab, token, self._buffer, len(self._buffer), 0, False)
        if size < 0:
            self._buffer = ctypes.create_string_buffer(-size)
            size = C.llama_token_to_piece(self.vocab, token, self._buffer, len(self._buffer), 0, False)
        return self._buffer.raw[:size]

    def name(self, token: int) -> str:
        """What to call a token on the screen: its text, with bytes that are no whole character as ``\\xNN``."""
        return self.piece(token).decode("utf-8", "backslashreplace") or self.control_text(token)

    def control_text(self, token: int) -> str:
        return str(C.llama_vocab_get_text(self.vocab, token).decode("utf-8", "replace"))

    def tokenize(self, text: str, *, shield: str = "", bos: bool = True) -> list[int]:
        """Token ids of a rendered prompt, in which every control token's text means that token.

        Args:
            text: the prompt as the chat template wrote it.
            shield: a character that stands inside any text that only looks like a control token; it is taken out
                again here, after the real ones are found. See :func:`phi_magic.prompt.rendering.shielded`.
            bos: begin with the vocabulary's own beginning of sequence, unless the text does.
        """
        ids: list[int] = []
        strip_left = False
        for part in self.split(text):
            token = self.controls.get(part)
            if token is None:
                ids += self._plain(part.lstrip() if strip_left else part, shield)
                strip_left = False
            else:
                ids.append(token)
                strip_left = bool(self._attributes[token] & C.LLAMA_TOKEN_ATTR_RSTRIP)
        if bos and C.llama_vocab_get_add_bos(self.vocab) and self.bos is not None and ids[:1] != [self.bos]:
            ids.insert(0, self.bos)
        return ids

    def split(self, text: str) -> Iterable[str]:
        """Cut a text into the spellings of control tokens and what stands between them."""
        return filter(None, self._spellings.split(text)) if self.controls else [text] * bool(text)

    @cached_property
    def _spellings(self) -> re.Pattern[str]:
        longest_first = sorted(self.controls, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    def _plain(self, text: str, shield: str) -> list[int]:
        """Tokens of text in which nothing is a control token, not even what a GGUF calls user-defined."""
        whole = self._raw(text.replace(shield, "") if shield else text)
        if not shield or not self._attributes.keys() & set(whole):
            return whole
        # llama.cpp always finds user-defined tokens. Cut where the shield stands, and give each later part a line break
        # to begin with, so that the tokenizer's own leading space goes there and both can be dropped.
        first, *rest = text.split(shield)
        return self._raw(first) + [token for part in rest for token in self.tokens_within(part)]

    def tokens_after(self, prompt: str, answer: str) -> list[int]:
        """Token ids of an answer as it is written after a rendered prompt; no special token is honoured in it."""
        before, strip_left = "", False  # the plain text that the answer continues
        for part in self.split(prompt):
            token = self.controls.get(part)
            before = (part.lstrip() if strip_left else part) if token is None else ""
            strip_left = token is not None and bool(self._attributes[token] & C.LLAMA_TOKEN_ATTR_RSTRIP)
        shield = unused_character([answer])
        safe = answer
        for control in self.controls:
            if len(control) > 1:
                safe = safe.replace(control, control[0] + shield + control[1:])
        if not before:
            return self._plain(safe, shield)
        head, whole = self._plain(before, ""), self._plain(before + safe, shield)
        return whole[len(head) :] if whole[: len(head)] == head else self.tokens_within(answer)

    def tokens_within(self, text: str) -> list[int]:
        """Tokens of text that other text goes before: none of them is a space that the tokenizer adds."""
        return self._raw("\n" + text)[len(self._raw("\n")) :]

    def size(self, text: str) -> int:
        """Return the number of :meth:`tokens_within` a text, counted once for each text."""
        key = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
        if (size := self._sizes.get(key)) is None:
            if len(self._sizes) >= _MOST_SIZES:
                self._sizes.clear()
            size = self._sizes[key] = len(self.tokens_within(text))
        return size

    def _raw(self, text: str) -> list[int]:
        data = text.encode("utf-8", "replace")  # a lone surrogate has no bytes
        room = len(data) + 2
        buffer = (C.llama_token * room)()
        count = C.llama_tokenize(self.vocab, data, len(data), buffer, room, False, False)
        if count < 0:
            buffer = (C.llama_token * -count)()
            count = C.llama_tokenize(self.vocab, data, len(data), buffer, -count, False, False)
        return list(buffer[:count])


def _decoded(text: bytes | None) -> str | None:
    return None if text is None else text.decode("utf-8", "replace")


def _known(token: int) -> int | None:
    return None if token < 0 else token
