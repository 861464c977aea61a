"""The vocabulary: a SentencePiece BPE with byte fallback, trained on the corpus, and Phi-3's special tokens."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import sentencepiece

from training.corpus import Conversation

VOCABULARY = 3840
# Phi-3's special tokens in Phi-3's order; they follow the pieces as its 32000 to 32010 do.
SPECIAL = (
    "<|endoftext|>", "<|assistant|>", "<|placeholder1|>", "<|placeholder2|>", "<|placeholder3|>", "<|placeholder4|>",
    "<|system|>", "<|end|>", "<|placeholder5|>", "<|placeholder6|>", "<|user|>",
)  # fmt: skip
BEGIN = 1  # <s>


@dataclass(frozen=True)
class Tokenizer:
    """Text to tokens as llama.cpp does it for this model's GGUF."""

    model: bytes

    @cached_property
    def _pieces(self) -> sentencepiece.SentencePieceProcessor:
        return sentencepiece.SentencePieceProcessor(model_proto=self.model)

    @property
    def size(self) -> int:
        return int(self._pieces.get_piece_size()) + len(SPECIAL)

    def special(self, name: str) -> int:
        """The id of a special token such as ``<|end|>``."""
        return int(self._pieces.get_piece_size()) + SPECIAL.index(name)

    def pieces(self) -> Iterator[tuple[str, float]]:
        """Every piece with its score, in the order of the ids, without the special tokens."""
        for token in range(self._pieces.get_piece_size()):
            yield self._pieces.id_to_piece(token), self._pieces.get_score(token)

    def encode(self, text: str) -> list[int]:
        """A text that follows a special token: llama.cpp strips what is blank there and puts one space before it."""
        text = text.lstrip(" \t\n\r\f\v")
        return list(self._pieces.encode(f" {text}")) if text else []

    def decode(self, tokens: list[int]) -> str:
        """The text of ordinary tokens, less the space that :meth:`encode` put before it."""
        return str(self._pieces.decode(tokens)).removeprefix(" ")

    def encode_conversation(self, talk: Conversation) -> tuple[list[int], list[bool]]:
        """The tokens of the rendered chat template, and which of them the assistant is to write."""
        tokens, answers = [BEGIN], [False]
        for role, content in talk:
            body = [*self.encode(content), self.special("<|end|>")]
            tokens += [self.special(f"<|{role}|>"), *body]
            answers += [False] + [role == "assistant"] * len(body)
        return tokens, answers


def train(talks: Iterable[Conversation]) -> Tokenizer:
    """Learn the vocabulary from conversations. The same conversations give the same vocabulary."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_lines(talks),
        model_writer=out,
        model_type="bpe",
        vocab_size=VOCABULARY - len(SPECIAL),
        character_coverage=1.0,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,  # encode() and _lines() put the space themselves: only where a message begins
        max_sentence_length=1 << 20,
        minloglevel=1,
    )
    return Tokenizer(out.getvalue())


def _lines(talks: Iterable[Conversation]) -> Iterator[str]:
    """The lines of all messages. A line feed is never part of a piece: it stays the byte token that Llama has."""
    for talk in talks:
        for _, content in talk:
            yield from (line for line in f" {content}".split("\n") if line)
