"""The requests of a map: their prompts, the room that they need, and which of them one batch answers."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..generation.backend import OnStatus
from ..generation.request import GenerationRequest
from .answer import TokenizedPrompt, read_prompt
from .batch import WIDE
from .choices import read_choices
from .deliberation import Deliberation
from .memory_estimate import CELLS
from .model import Model
from .runtime import Runtime
from .writer import Clock, Writer

_WHILE = 0.5  # seconds between two reports


@dataclass(slots=True)
class Job:
    """A request whose answer is to be made; the writer is there while it has a sequence of the batch.

    What is written of a request with choices are its thoughts.
    """

    index: int
    request: GenerationRequest
    prompt: TokenizedPrompt
    limit: int
    load: float = 0.0
    options: Sequence[list[int]] = ()  #: token ids of its choices
    thoughts: Sequence[int] = ()  #: token ids that stand between its prompt and its choices
    writer: Writer | Deliberation | None = None

    @property
    def room(self) -> int:
        """Tokens of context that the prompt and the longest answer take."""
        return len(self.prompt) + self.limit


def read_job(runtime: Runtime, model: Model, job: Job) -> None:
    """Read a job's prompt and choices.

    Raises:
        PhiError: it cannot be answered.
    """
    request = job.request
    if request.choices:
        job.options = read_choices(runtime, model, request)
        request = replace(request, max_tokens=max(map(len, job.options)))
    prompt, job.limit = read_prompt(runtime, model, request)
    job.prompt = replace(prompt, tokens=array("i", prompt.tokens))  # a list takes ten times as much memory


def alike(runtime: Runtime, jobs: Sequence[Job]) -> list[list[Job]]:
    """Part the jobs into those that one batch answers, in the order of their requests.

    llama.cpp has one set of RoPE factors for a whole batch, and room of one size for all sequences. So a part ends where
    the next job needs the other set; and where it needs less than half of the room, if the part fills a pass.
    """
    model, _ = runtime.loaded
    parts: list[list[Job]] = []
    for job in sorted(jobs, key=lambda job: -job.room):
        longest = parts[-1][0] if parts else job
        cells, most = (-(-one.room // CELLS) for one in (job, longest))
        fits = model.rope_factors(job.room) == model.rope_factors(longest.room)
        if parts and fits and (2 * cells >= most or len(parts[-1]) < WIDE):
            parts[-1].append(job)
        else:
            parts.append([job])
    return [sorted(part, key=lambda job: job.index) for part in reversed(parts)]


class Reading:
    """Says how many requests are read, where that takes a while."""

    def __init__(self, count: int, on_status: OnStatus, clock: Clock) -> None:
        self._count, self._on_status, self._clock = count, on_status, clock
        self._read = 0
        self._next = clock() + _WHILE

    def took_one(self) -> None:
        """Note that one more is read."""
        self._read += 1
        if self._clock() >= self._next:
            self._next = self._clock() + _WHILE
            self._on_status(f"reading the rows: {self._read:,} of {self._count:,}")
