"""From a backend's events to a ``Reply``: one place, whichever backend."""

from __future__ import annotations

from ..reply import Reply
from .backend import Event, Finished, Started


class Recorder:
    """Fills in a reply, event by event.

    Args:
        reply: what is filled in.
        asked: when the question was asked, by ``time.perf_counter``.
    """

    __slots__ = ("_asked", "_drawn", "_first", "reply")

    def __init__(self, reply: Reply, asked: float) -> None:
        self.reply = reply
        self._asked = asked
        self._drawn = 0
        self._first = asked

    def apply(self, event: Event) -> str:
        """Take an event over, and return the text that it adds, often none."""
        reply, timings = self.reply, self.reply.timings
        if isinstance(event, Started):
            reply.usage.prompt_tokens, reply.usage.cached_tokens = event.prompt_tokens, event.cached_tokens
            timings.load, timings.prompt = event.load, event.prompt
            reply.engine, reply.left_out = event.engine, event.left_out
            reply.model_sha256, reply.from_cache = event.model_sha256, event.from_cache
            return ""
        reply.reasoning += event.reasoning
        if isinstance(event, Finished):
            reply.finish_reason = event.reason
            reply.choices, reply.error = event.choices, event.error
            reply.usage = event.usage or reply.usage
            timings.total = event.at - self._asked
        else:
            if event.drawn:
                self._time(event.at)
            if event.token:
                reply.tokens.append(event.token)
            reply.usage.completion_tokens += 1
            # A server does not tell how many tokens are thoughts.
            reply.usage.reasoning_tokens = event.thoughts or reply.usage.reasoning_tokens + bool(event.reasoning)
            if event.reasoning:
                timings.reasoning = event.at - self._first if event.drawn else timings.reasoning
        reply.text += event.text
        return event.text

    def _time(self, at: float) -> None:
        if not self._drawn:
            self._first = at
            self.reply.timings.first_token = at - self._asked
        elif at > self._first:
            self.reply.timings.tokens_per_second = self._drawn / (at - self._first)
        self._drawn += 1
