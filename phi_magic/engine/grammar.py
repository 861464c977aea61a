"""Which tokens may come next, so that an answer is JSON of one schema: llguidance's automaton on a model's vocabulary.

llguidance rather than llama.cpp's own grammar sampler: a mask over Phi-3's vocabulary takes it some ten microseconds
(llama.cpp's walks all candidates: three orders of magnitude more), it refuses by name what of JSON Schema it cannot
express where the other leaves it out, and it turns hostile schemas into errors where the other ends the process.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, proxy

import numpy as np
from numpy.typing import NDArray

from ..errors import PhiError

if TYPE_CHECKING:
    from .model import Model

#: A larger schema would take seconds to compile, which nothing can interrupt.
LARGEST_SCHEMA = 200_000  # characters
#: Between values a space or a line break with its indentation, no more: a model cannot get lost in white space.
_SPACE = r"\n? {0,16}"
_SPECIAL = b"\xff"  # by it llguidance knows a token that is no text

_vocabularies: WeakKeyDictionary[Model, Any] = WeakKeyDictionary()


class Grammar:
    """The state of one answer that follows a schema.

    Args:
        schema: JSON Schema, as text.

    Raises:
        PhiError: the schema is none, or says what cannot be kept while the answer is written.
    """

    def __init__(self, model: Model, schema: str) -> None:
        from llguidance import LLMatcher

        if len(schema) > LARGEST_SCHEMA:
            raise PhiError(f"the schema has {len(schema):,} characters; at most {LARGEST_SCHEMA:,} can be followed")
        options: Any = {"whitespace_pattern": _SPACE, "coerce_one_of": False, "lenient": False}
        try:
            source = LLMatcher.grammar_from_json_schema(schema, overrides=options)
        except ValueError as error:
            raise PhiError(f"the schema cannot be followed: {_line(error)}") from None
        self._matcher = LLMatcher(_vocabulary(model), source, log_level=0)
        self._mask = np.zeros(-(-model.n_vocab // 32), dtype=np.int32)
        self._check("the schema cannot be followed")
        self.allowed()  # what no answer can satisfy shows itself here

    def allowed(self) -> NDArray[np.intp]:
        """Ids of the tokens that may come next, ascending; one that ends an answer among them where it may end here.

        Raises:
            PhiError: none may, or the grammar has become too complex.
        """
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        self._check("the schema cannot be followed")
        tokens = np.flatnonzero(np.unpackbits(self._mask.view(np.uint8), bitorder="little"))
        if not len(tokens):
            raise PhiError("the schema cannot be followed: no token of this model's vocabulary may come next")
        return tokens

    def accept(self, token: int) -> None:
        """Go on after a token.

        Raises:
            PhiError: it is not among the allowed ones.
        """
        if not self._matcher.consume_token(token):
            raise PhiError("the answer that is begun does not follow the schema")

    @property
    def complete(self) -> bool:
        """Whether the answer is whole and nothing can follow."""
        return bool(self._matcher.is_stopped())

    def _check(self, what: str) -> None:
        if self._matcher.is_error():
            raise PhiError(f"{what}: {_line(self._matcher.get_error())}")


def _line(error: object) -> str:
    """llguidance's own words, in one line."""
    text = str(error).strip().split("\n", 1)[0]
    if unknown := re.fullmatch(r"Unimplemented keys: \[(.*)\]", text):
        return f"it says {unknown[1]}, which no grammar here can express"
    if text.startswith(("NoExtension", "panic")):
        return "no answer can satisfy it"
    return text[:200]


def _vocabulary(model: Model) -> Any:
    """The model's tokens as llguidance sorts them; made once for a model, in some tenths of a second."""
    if model not in _vocabularies:
        from llguidance import LLTokenizer, TokenizerWrapper

        # Without slices a mask in the middle of a string looks at every token of the vocabulary.
        _vocabularies[model] = LLTokenizer(
            TokenizerWrapper(_Tokens(model)),
            n_vocab=model.n_vocab,
            eos_token=[token for token in range(model.n_vocab) if model.ends(token)],
            slices=LLTokenizer.json_slices(),
        )
    return _vocabularies[model]


class _Tokens:
    """What llguidance asks of a tokenizer."""

    def __init__(self, model: Model) -> None:
        self._model = proxy(model)  # what is kept by the model must not keep it
        self.tokens = [
            model.piece(token) or _SPECIAL + model.control_text(token).encode() for token in range(model.n_vocab)
        ]
        self.eos_token_id = next(token for token in range(model.n_vocab) if model.ends(token))
        self.bos_token_id = model.bos
        self.special_token_ids: Sequence[int] = ()

        self._bytes = {data[0]: token for token, data in enumerate(self.tokens) if len(data) == 1}

    def __call__(self, text: str) -> list[int]:
        """The tokens that the model itself would use, where they spell the very text."""
        tokens: list[int] = self._model.tokens_within(text)
        if b"".join(self.tokens[token] for token in tokens) == text.encode():
            return tokens
        return [self._bytes[byte] for byte in text.encode()]
