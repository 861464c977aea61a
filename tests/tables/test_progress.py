"""How far a map is, told from replies as they grow."""

import pytest

from phi_magic.reply import Reply
from phi_magic.tables.progress import Progress, duration


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def progress(clock):
    progress = Progress(4, 100, clock)
    for _ in progress.following([], []):
        pass
    return progress


def reply(completion=0, finish_reason="interrupted", prompt=50, cached=0, from_cache=False, load=0.0):
    made = Reply("prompt", "demo", {}, 1, finish_reason=finish_reason, error="too long" * (finish_reason == "error"))
    made.usage.prompt_tokens, made.usage.cached_tokens, made.usage.completion_tokens = prompt, cached, completion
    made.from_cache, made.timings.load = from_cache, load
    return made


def test_it_grows_before_a_row_is_finished(progress):
    seen = [progress.fraction]
    for index in range(4):
        progress.update(index, reply(1))
        seen.append(progress.fraction)
    assert progress.done == 0
    assert seen[0] == 0
    assert seen == sorted(set(seen))


def test_it_never_goes_back_and_ends_at_one(progress):
    seen = []
    for index, length in enumerate([2, 90, 3, 40]):
        for count in range(1, length):
            progress.update(index, reply(count))
            seen.append(progress.fraction)
        progress.update(index, reply(length, "stop"))
        seen.append(progress.fraction)
    assert seen == sorted(seen)
    assert seen[-2] < 1 == seen[-1]
    assert progress.tokens == 135


def test_a_row_that_is_reported_twice_counts_once(progress):
    for _ in range(2):
        progress.update(0, reply(3, "stop"))
    assert (progress.done, progress.tokens) == (1, 3)


def test_an_error_is_a_failed_row(progress):
    progress.update(2, reply(0, "error"))
    assert (progress.done, progress.failed, progress.tokens) == (1, 1, 0)
    assert progress.fraction == 0


def test_all_rows_may_fail(progress):
    for index in range(4):
        progress.update(index, reply(0, "error"))
    assert progress.fraction == 1
    assert progress.summary() == "4 rows · 0 tokens · 4 failed · 0 s"


def test_the_figures(progress, clock):
    progress.update(0, reply(1))
    clock.now = 10
    progress.update(0, reply(10, "stop"))
    assert progress.line() == "1 of 4 rows · 0.1 rows/s · 1 tokens/s · 30 s left"
    assert progress.summary() == "interrupted after 1 of 4 rows · 10 tokens · 0 failed · 10 s"


def test_rows_from_the_cache_count_for_no_rate_and_no_time(progress, clock):
    for index in range(2):
        progress.update(index, reply(90, "stop", from_cache=True))
    assert progress.fraction == 0.5
    assert progress.line() == "2 of 4 rows"
    clock.now = 10
    progress.update(2, reply(10, "stop"))
    assert progress.line() == "3 of 4 rows · 0.1 rows/s · 1 tokens/s · 10 s left"
    assert progress.fraction == 0.75
    progress.update(3, reply(10, "stop"))
    assert progress.summary() == "4 rows · 200 tokens · 0 failed · 2 from the cache · 10 s"


def test_the_clock_starts_when_the_rows_are_asked(clock):
    """The first rows may come together, a minute later, from the processes of an executor."""
    progress = Progress(4, 100, clock)
    replies = [reply() for _ in range(4)]

    def arriving():
        clock.now = 60
        for index in (0, 1):
            replies[index] = reply(10, "stop")
            yield index

    for _ in progress.following(arriving(), replies):
        pass
    assert progress.line() == "2 of 4 rows · 0.0333 rows/s · 0.333 tokens/s · 60 s left"


def test_loading_the_model_counts_for_no_rate(progress, clock):
    clock.now = 30
    progress.update(0, reply(10, "stop", load=20))
    assert progress.line() == "1 of 4 rows · 0.1 rows/s · 1 tokens/s · 30 s left"
    assert progress.seconds == 30


def test_no_token_of_a_choice_is_waited_for(clock):
    replies = [Reply("prompt", "demo", {"max_tokens": 512, "choices": ["a", "b"]}, 1) for _ in range(4)]
    progress = Progress.of(replies)
    progress.update(0, reply(0))
    assert progress.fraction == pytest.approx(50 / 51 / 4)


def test_reading_the_rows_counts_for_no_rate(progress, clock):
    clock.now = 20
    progress.wait()
    clock.now = 30
    progress.update(0, reply(10, "stop"))
    progress.wait()  # another model is loaded, or an executor broke
    assert progress.line() == "1 of 4 rows · 0.1 rows/s · 1 tokens/s · 30 s left"
    assert progress.summary() == "interrupted after 1 of 4 rows · 10 tokens · 0 failed · 30 s"


def test_before_the_first_row_there_are_no_figures(progress):
    assert progress.line() == "0 of 4 rows"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (99, "99 s"), (130, "2 min"), (5400, "90 min"), (6000, "1 h 40 min")]
)
def test_seconds_in_words(seconds, said):
    assert duration(seconds) == said


def test_an_update_of_many_rows_looks_at_no_other():
    """The work of a map is linear in its rows: what is kept of a finished row is one byte."""
    progress = Progress(10_000, 5)
    for index in range(10_000):
        progress.update(index, reply(1))
        progress.update(index, reply(2, "stop"))
        assert len(progress._begun) == 0
    assert progress.fraction == 1
