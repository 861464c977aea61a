"""A backend that says what a test has told it to, for what needs no model."""

from __future__ import annotations

import time
from collections import deque

from phi_magic.generation.backend import Finished, Started, Step, ignore_status


class FakeBackend:
    """Answers each request with the next of the enqueued texts, word by word; an exception is raised in its place."""

    def __init__(self, *answers):
        self.answers = deque(answers)
        self.requests = []

    def enqueue(self, *answers):
        self.answers.extend(answers)

    def generate(self, request, stop, *, on_status=ignore_status):
        self.requests.append(request)
        answer = self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        yield Started()
        for word in answer.split(" ") if answer else []:
            stop.check()
            text = word if word == answer.split(" ", 1)[0] else f" {word}"
            yield Step(text=text, at=time.perf_counter())
        yield Finished(reason="stop", at=time.perf_counter())
