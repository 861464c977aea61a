"""Fewer threads while other processes want the cores, all of them when they are free."""

from phi_magic.engine.threads import Threads

QUIET = {1: 0.040, 2: 0.025, 4: 0.018, 8: 0.015}
BUSY = {1: 0.045, 2: 0.090, 4: 0.200, 8: 0.400}


def run(threads, passes, seconds):
    """Let passes take what they take with so many threads; returns the seconds in all, and the counts in order."""
    total, counts = 0.0, []
    for _ in range(passes):
        counts.append(threads.count)
        total += seconds[threads.count]
        threads.took(seconds[threads.count])
    return total, counts


def test_on_a_quiet_machine_all_are_used():
    threads = Threads(2)
    total, counts = run(threads, 1000, QUIET)
    assert threads.count in (1, 2)
    assert 0 < counts.count(1) <= 8  # a trial ends with its first pass, where that takes far longer
    assert set(counts[:8]) == {2}
    assert total < 1000 * QUIET[2] / 0.97


def test_on_a_busy_machine_it_comes_down_to_one():
    for most in (2, 4, 8):
        total, counts = run(Threads(most), 1000, BUSY)
        assert counts[-100:].count(1) > 80
        assert total < 1000 * BUSY[1] * 1.4


def test_it_follows_what_other_processes_do():
    threads = Threads(2)
    run(threads, 300, QUIET)
    _, busy = run(threads, 100, BUSY)
    assert busy[-40:].count(1) > 30
    _, quiet = run(threads, 100, QUIET)
    assert quiet[-40:].count(2) > 30


def test_a_pass_that_grows_with_the_context_is_no_reason_to_try_often():
    threads = Threads(2)
    counts = []
    for length in range(2000):
        counts.append(threads.count)
        threads.took(QUIET[threads.count] * (1 + length / 4000))
    assert counts.count(1) < 50


def test_one_thread_stays_one():
    threads = Threads(1)
    assert set(run(threads, 50, QUIET)[1]) == {1}
