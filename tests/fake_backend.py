"""A backend that says what a test has told it to, for what needs no model."""

from __future__ import annotations

import re
import time
from collections import deque

import msgspec

from phi_magic.generation.backend import Finished, Started, Step, ignore_status


class FakeBackend:
    """Answers each request with the next of the enqueued answers.

    An answer is a text, which comes word by word, or any iterable of its pieces and steps; an exception, in their place or
    among them, is raised there.
    """

    def __init__(self, *answers, finish="stop"):
        self.answers = deque(answers)
        self.finish = finish
        self.requests = []

    def enqueue(self, *answers):
        self.answers.extend(answers)

    def generate(self, request, stop, *, on_status=ignore_status):
        self.requests.append(request)
        answer = self.answers.popleft()
        if isinstance(answer, BaseException):
            raise answer
        yield Started()
        for piece in re.findall(r" ?[^ ]+| +$", answer) if isinstance(answer, str) else answer:
            if isinstance(piece, BaseException):
                raise piece
            stop.check()
            yield piece if isinstance(piece, Step) else Step(text=piece, at=time.perf_counter())
        yield Finished(reason=self.finish, at=time.perf_counter())

    def generate_many(self, requests, stop, *, keep_errors=False, on_status=ignore_status):
        for index, request in enumerate(requests):
            for event in self.generate(request, stop):
                yield msgspec.structs.replace(event, index=index)
