"""A table's requests, cut into chunks for the processes of an executor."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from .request import GenerationRequest

_SECONDS = 10.0  # that a chunk should take
_ROWS = 16  # of a chunk, where there are as many for each worker: narrower passes take as long
_SHARE = 2  # chunks that each worker should still get of what is left, so that all end at about the same time
_CHARACTERS = 4  # of a token, on average


@dataclass
class Chunk:
    """Requests that are answered together; ``numbers`` are those of all requests."""

    numbers: list[int]
    requests: list[GenerationRequest]
    tokens: int
    tries: int = 0


class Waiting:
    """Requests that are cut into chunks as workers need them, in their order.

    The first chunks are small. The others are to take ``_SECONDS``, by the speed of those that came back.
    """

    def __init__(self, requests: Sequence[GenerationRequest], workers: int) -> None:
        self._requests = deque((number, request, _tokens(request)) for number, request in enumerate(requests))
        self._left = sum(tokens for *_, tokens in self._requests)
        self._workers = workers
        self._rows = min(_ROWS, math.ceil(len(self._requests) / workers))
        self._again: deque[Chunk] = deque()
        self._answered, self._took = 0, 0.0

    def __bool__(self) -> bool:
        return bool(self._again or self._requests)

    def next(self) -> Chunk:
        """Return the next chunk."""
        if self._again:
            return self._again.popleft()
        speed = self._answered / self._took if self._took else 0.0
        most = min(speed * _SECONDS, self._left / (_SHARE * self._workers))
        chunk = Chunk([], [], 0)
        while self._requests and (len(chunk.numbers) < self._rows or chunk.tokens + self._requests[0][2] <= most):
            number, request, tokens = self._requests.popleft()
            chunk.numbers.append(number)
            chunk.requests.append(request)
            chunk.tokens += tokens
        self._left -= chunk.tokens
        return chunk

    def put_back(self, chunk: Chunk) -> None:
        """Take in a chunk that was not answered; it is the next one."""
        self._again.appendleft(chunk)

    def took(self, chunk: Chunk, seconds: float) -> None:
        """Learn how long a chunk took."""
        self._answered += chunk.tokens
        self._took += seconds

    def rest(self) -> list[tuple[int, GenerationRequest]]:
        """Return all that waits, with its numbers."""
        again = [pair for chunk in self._again for pair in zip(chunk.numbers, chunk.requests, strict=True)]
        return again + [(number, request) for number, request, _ in self._requests]


def _tokens(request: GenerationRequest) -> int:
    """About how many tokens a request takes, without a tokenizer."""
    characters = sum(len(message.content) for message in request.messages)
    answer = max(map(len, request.choices)) // _CHARACTERS + 1 if request.choices else request.max_tokens
    return characters // _CHARACTERS + answer
