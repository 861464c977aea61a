"""Many answers at once: what is evaluated, what is held meanwhile, and what is told."""

import weakref
from collections import Counter

import pytest

from phi_magic.engine import answers, runtime
from phi_magic.engine.answer import TokenizedPrompt
from phi_magic.engine.batch import WIDE, Batch
from phi_magic.engine.engine import Engine
from phi_magic.engine.jobs import Job, read_job
from phi_magic.engine.model import Model
from phi_magic.engine.width import Width
from phi_magic.errors import PhiError
from phi_magic.generation.backend import Finished, Started, Step
from phi_magic.interrupt import Stop
from phi_magic.models.files import resolve

SHORT = [
    f"Write a few lines about {word}" for word in ("ice", "snow", "tea", "rain", "bees", "cats", "trains", "night")
]


@pytest.fixture
def width(monkeypatch):
    """Set how many sequences are worth decoding at once, which is measured otherwise."""

    def set_width(count):
        monkeypatch.setattr(Width, "best", count)
        monkeypatch.setattr(Width, "most", count)

    return set_width


@pytest.fixture
def batches(engine, monkeypatch):
    """The sequences and the cells of each batch that is made."""
    made = []
    real = runtime.Batch

    def batch(*arguments, sequences, room):
        made.append((sequences, room))
        return real(*arguments, sequences=sequences, room=room)

    monkeypatch.setattr(runtime, "Batch", batch)
    return made


class Noted:
    """A backend that answers nothing, and keeps what it was asked."""

    def generate_many(self, requests, stop, **options):
        self.requests = requests
        yield from ()


def requests(phi, questions, **options):
    """What the engine is asked, for tests of its events."""
    phi.backend = noted = Noted()
    phi.stream_all([(question, options) for question in questions]).run()
    return noted.requests


def test_the_last_answers_go_through_narrow_passes(phi, width, monkeypatch):
    width(32)
    passes = []
    real = Batch._pass
    monkeypatch.setattr(Batch, "_pass", lambda self, rows, *rest: passes.append(len(rows)) or real(self, rows, *rest))
    questions = [(f"{number} {SHORT[0]}", {"max_tokens": 12 if number % 10 == 9 else 2}) for number in range(30)]
    together = phi.stream_all(questions)
    together.run()
    [(wide, _), (narrow, count)] = Counter(passes[-11:]).items()
    assert (wide, narrow, count) == (30, WIDE, 10)
    for number in (9, 29):
        alone = phi.stream_all([questions[number]])
        alone.run()
        assert alone.replies[0].text == together.replies[number].text


def test_an_answer_that_has_ended_keeps_neither_writer_nor_prompt(phi, engine, width, monkeypatch):
    width(WIDE)
    writers, jobs = weakref.WeakSet(), []
    real = answers.Writer
    monkeypatch.setattr(answers, "Writer", lambda *rest, **more: [made := real(*rest, **more), writers.add(made)][0])
    begin = answers._begin

    def beginning(runtime, batch, running, fresh, *rest, **more):
        jobs.extend(fresh)
        return begin(runtime, batch, running, fresh, *rest, **more)

    monkeypatch.setattr(answers, "_begin", beginning)
    asked = requests(phi, SHORT * 5, max_tokens=3)
    most = ended = 0
    for event in engine.generate_many(asked, Stop()):
        most = max(most, len(writers))
        ended += isinstance(event, Finished)
    assert ended == len(asked) == len(jobs)
    assert 0 < most <= WIDE
    assert not writers
    assert not any(job.writer or job.prompt for job in jobs)


def test_a_prompt_that_waits_takes_four_bytes_a_token(phi, engine):
    [request] = requests(phi, SHORT[:1])
    job = Job(0, request, TokenizedPrompt(), 0)
    with engine.vocabulary(request.model, Stop()) as vocabulary:
        read_job(engine, vocabulary, job)
    assert memoryview(job.prompt.tokens).nbytes == 4 * len(job.prompt) > 0


def test_a_long_row_does_not_make_room_for_itself_in_every_sequence(phi, batches, width):
    width(32)
    long = "ice " * 700
    mixed = phi.map([*SHORT * 3, long, *SHORT], max_tokens=20, progress=False)
    (short_sequences, short_room), (long_sequences, long_room) = batches
    assert short_room < 100
    assert long_room > 700
    assert long_sequences == WIDE
    assert short_sequences == len(mixed) - WIDE
    assert [reply.text for reply in mixed[:3]] == [
        phi.map([one], max_tokens=20, progress=False)[0].text for one in SHORT[:3]
    ]


@pytest.mark.parametrize(("max_tokens", "sequences"), [(1, WIDE), (3, 2 * WIDE), (9, 40)])
def test_short_answers_have_room_in_fewer_sequences(phi, batches, max_tokens, sequences):
    phi.map(SHORT * 5, max_tokens=max_tokens, progress=False)
    assert batches[0][0] == sequences


def test_what_short_prompts_begin_with_is_read_once(phi, width):
    width(32)
    replies = phi.map(SHORT * 4, max_tokens=2, progress=False)
    assert max(reply.usage.prompt_tokens for reply in replies) < 2 * WIDE
    assert all(reply.usage.cached_tokens > 0 for reply in replies)


@pytest.mark.parametrize("options", [{"max_tokens": 2}, {"choices": ["yes", "no"]}])
def test_prompts_are_reported_as_soon_as_they_are_evaluated(phi, engine, width, options):
    width(32)
    order = []
    for event in engine.generate_many(requests(phi, SHORT * 3, **options), Stop()):
        kind = type(event)
        if kind is Started or kind not in order[-1:]:
            order.append(kind)
    # The first pass reads six prompts.
    assert order[:7] == [Started] * 6 + ([Step] if "max_tokens" in options else [Started])


def test_a_map_says_how_many_rows_are_read_where_that_takes_a_while(phi):
    seconds = iter(range(10_000))
    engine = Engine(clock=lambda: next(seconds) / 10)
    said = []
    try:
        list(engine.generate_many(requests(phi, SHORT * 5, max_tokens=1), Stop(), on_status=said.append))
    finally:
        engine.unload()
    told = [text for text in said if text.startswith("reading the rows: ")]
    assert len(told) >= 3
    assert all(text.endswith(" of 40") for text in told)


def test_each_of_several_models_is_loaded_once(phi, engine, tmp_path, monkeypatch):
    copies = [tmp_path / "one.gguf", tmp_path / "two.gguf"]
    for copy in copies:
        copy.write_bytes(resolve("demo").path.read_bytes())
    loaded = []

    def load(path, **options):
        if options.get("vocabulary_of") is None:
            loaded.append(path)
        return Model(path, **options)

    monkeypatch.setattr(runtime, "Model", load)
    questions = [(f"{number} {SHORT[0]}", {"model": str(copies[number % 2])}) for number in range(4)]
    together = phi.stream_all(questions)
    together.run()
    assert loaded == copies
    assert together.replies[0].text == phi.map([questions[0][0]], model=str(copies[0]), progress=False)[0].text
    loaded.clear()
    with pytest.raises(PhiError, match="2 of 4 rows") as caught:
        phi.stream_all([*questions[:2], *((("ice " * 5000), options) for _, options in questions[:2])]).run()
    assert "the context" in str(caught.value)
    assert not loaded
