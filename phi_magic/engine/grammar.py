"""Compute which tokens may come next, so that an answer is JSON of one schema, with llguidance.

llguidance rather than llama.cpp's own grammar sampler: a mask over the vocabulary of Phi-3 takes it some ten
microseconds (llama.cpp's visits all candidates: a thousand times more), it refuses by name what it cannot express of
JSON Schema where llama.cpp leaves it out, and it turns hostile schemas into errors where llama.cpp ends the process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, proxy

import numpy as np
from numpy.typing import NDArray

from ..errors import PhiError
from ..schema.structure import LONGEST_SCHEMA
from .thinking import parts_of

if TYPE_CHECKING:
    from .model import Model
    from .thinking import Thinking

#: Between values a space or a line break with its indentation, no more: a model cannot get lost in white space.
_SPACE = r"\n? {0,16}"
_EXACT = 2**53  # up to here a 64-bit float holds every integer
_SPECIAL = b"\xff"  # llguidance takes a token that begins with this byte for one that stands for no text

_vocabularies: WeakKeyDictionary[Model, Any] = WeakKeyDictionary()


class Grammar:
    """The state of one answer that follows a schema.

    Args:
        model: The model whose tokens are masked.
        schema: JSON Schema, as text.
        thinking: The tags between which a model may think before it answers. Thoughts are any text up to the closing
            tag, and the answer follows the schema after it. Where the prompt has not begun them, they begin with the
            opening tag, or there are none.

    Raises:
        PhiError: The text is no schema, or the schema says what cannot be kept while the answer is written.
    """

    def __init__(self, model: Model, schema: str, *, thinking: Thinking | None = None) -> None:
        from llguidance import LLMatcher

        if len(schema) > LONGEST_SCHEMA:
            raise PhiError(f"the schema has {len(schema):,} characters; at most {LONGEST_SCHEMA:,} can be followed")
        options: Any = {"whitespace_pattern": _SPACE, "coerce_one_of": False, "lenient": False}
        try:
            source = LLMatcher.grammar_from_json_schema(schema, overrides=options)
        except ValueError as error:
            raise PhiError(f"the schema cannot be followed: {_line(error)}") from None
        _refuse_rounded(json.loads(schema))
        if thinking:
            source = _after_thinking(model, thinking, source)
        self._matcher = LLMatcher(_vocabulary(model), source, log_level=0)
        self._mask = np.zeros(-(-model.n_vocab // 32), dtype=np.int32)
        self._check("the schema cannot be followed")
        self.allowed()  # refuses here a schema that no answer can satisfy

    def allowed(self) -> NDArray[np.intp]:
        """Compute the ids of the tokens that may come next, ascending.

        Where the answer may end, tokens that end it are among them.

        Raises:
            PhiError: No token may come next, or the grammar has become too complex.
        """
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        self._check("the schema cannot be followed")
        tokens = np.flatnonzero(np.unpackbits(self._mask.view(np.uint8), bitorder="little"))
        if not len(tokens):
            raise PhiError("the schema cannot be followed: no token of this model's vocabulary may come next")
        return tokens

    def accept(self, token: int) -> None:
        """Continue after a token.

        Raises:
            PhiError: The token is not an allowed one.
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


def _after_thinking(model: Model, thinking: Thinking, source: str) -> str:
    """Put thoughts, or the choice to think, before the JSON of llguidance's grammar ``source``."""

    def spelled(parts: Sequence[int | str]) -> str:
        return " ".join(f"<[{part}]>" if isinstance(part, int) else json.dumps(part) for part in parts)

    opening, closing, answer = (
        parts_of(tag, thinking.marks)
        for tag in (thinking.tags.opening.rstrip(), thinking.tags.closing, thinking.tags.answer)
    )
    first, *rest = closing
    if isinstance(first, int):
        thoughts = f"thoughts: TEXT {spelled(closing)}\nTEXT: /(.|\\n)*/"
    else:  # several tokens may spell it
        thoughts = f"thoughts: text {spelled(rest)}\ntext[suffix={json.dumps(first)}]: /(.|\\n)*/"
    start = "thoughts SPACE json"
    if not thinking.begun:
        start = " | ".join([f"{spelled(opening)} {start}", "json", *([f"{spelled(answer)} json"] if answer else [])])
    schema = json.dumps(json.loads(source)["grammars"][0]["json_schema"])
    return f"start: {start}\n{thoughts}\nSPACE: /[ \\n]{{0,8}}/\njson: %json {schema}\n"


def _refuse_rounded(schema: Any, *, constant: bool = False) -> None:
    """Refuse a number that no answer can have, or pass, since llguidance 1.9 makes 64-bit floats of all numbers.

    A bound that is merely far away, such as the greatest 64-bit integer, is none: the answers that it allows are written
    right, and every whole answer is checked.

    Args:
        schema: A schema, or a part of one.
        constant: Whether it is a part of ``const`` or ``enum``.

    Raises:
        PhiError: The schema has a constant beyond those that such floats hold exactly, or has all numbers lie there.
    """
    if isinstance(schema, dict):
        for name, part in schema.items():
            beyond = isinstance(part, int | float) and (
                (name in ("minimum", "exclusiveMinimum") and part > _EXACT)
                or (name in ("maximum", "exclusiveMaximum") and part < -_EXACT)
            )
            _refuse_rounded(part, constant=constant or beyond or name in ("const", "enum"))
    elif isinstance(schema, list):
        for part in schema:
            _refuse_rounded(part, constant=constant)
    elif constant and isinstance(schema, int | float) and abs(schema) > _EXACT:
        raise PhiError(f"the schema cannot be followed: the number {schema} is beyond 2**53, where numbers are rounded")


def _line(error: object) -> str:
    """Take the first line of llguidance's own message."""
    text = str(error).strip().split("\n", 1)[0]
    if unknown := re.fullmatch(r"Unimplemented keys: \[(.*)\]", text):
        return f"it says {unknown[1]}, which no grammar here can express"
    if text.startswith(("NoExtension", "panic")):
        return "no answer can satisfy it"
    return text[:200]


def _vocabulary(model: Model) -> Any:
    """Give llguidance the tokens of a model; done once for each model, since it takes some tenths of a second."""
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
    """The tokenizer of a model, with the attributes that llguidance reads."""

    def __init__(self, model: Model) -> None:
        self._model = proxy(model)  # this object is kept as long as the model, and must not keep the model alive
        self.tokens = [
            model.piece(token) or _SPECIAL + model.control_text(token).encode() for token in range(model.n_vocab)
        ]
        self.eos_token_id = next(token for token in range(model.n_vocab) if model.ends(token))
        self.bos_token_id = model.bos
        self.special_token_ids: Sequence[int] = ()

        self._bytes = {data[0]: token for token, data in enumerate(self.tokens) if len(data) == 1}

    def __call__(self, text: str) -> list[int]:
        """Tokenize as the model does, where its tokens spell exactly the text; else byte by byte."""
        tokens: list[int] = self._model.tokens_within(text)
        if b"".join(self.tokens[token] for token in tokens) == text.encode():
            return tokens
        return [self._bytes[byte] for byte in text.encode()]
