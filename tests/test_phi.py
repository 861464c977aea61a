"""Asking from Python."""

import asyncio
import inspect
import threading
import time
from pathlib import Path

import pytest

from phi_magic import Phi, PhiError, Reply
from phi_magic.generation.worker import shared
from phi_magic.keywords import Options
from phi_magic.question import make_question

HAIKU = "Write a haiku about ice hockey"


@pytest.fixture
def phi():
    return Phi(model="demo", seed=1)


def test_a_call_gives_the_whole_reply(phi):
    reply = phi(HAIKU)
    assert isinstance(reply, Reply)
    assert reply.text
    assert (reply.seed, reply.model, reply.prompt) == (1, "demo", HAIKU)
    assert reply.usage.completion_tokens == len(reply.tokens)
    assert reply.usage.prompt_tokens > 5
    assert 0 < reply.timings.first_token <= reply.timings.total
    assert len(reply.model_sha256) == 64


def test_the_pieces_of_a_stream_are_the_text(phi):
    stream = phi.stream(HAIKU)
    pieces = list(stream)
    assert len(pieces) > 5
    assert "".join(pieces) == stream.reply.text == phi(HAIKU).text


def test_any_trait_can_be_set_for_one_call(phi):
    reply = phi(HAIKU, temperature=0, max_tokens=3)
    assert (reply.usage.completion_tokens, reply.finish_reason) == (3, "length")
    assert (phi.temperature, phi.max_tokens) == (0.8, 512)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": 7}, "temperature must be a number from 0 to 5, not 7"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": 1.5}, "top_k must be a whole number"),
        ({"stop": "END"}, "stop must be a list of texts"),
    ],
)
def test_a_wrong_option_is_one_line(phi, options, says):
    with pytest.raises(PhiError, match=says):
        phi(HAIKU, **options)


def test_map_answers_in_order(phi):
    prompts = [HAIKU, "What is a token?", HAIKU]
    assert [reply.prompt for reply in phi.map(prompts)] == prompts


def test_a_conversation_is_a_list_of_messages(phi):
    messages = [
        {"role": "user", "content": HAIKU},
        {"role": "assistant", "content": "Puck glides."},
        {"role": "user", "content": "Now about the sea"},
    ]
    reply = phi(messages)
    assert reply.prompt == "Now about the sea"
    assert reply.messages == messages[:-1]


def test_a_conversation_ends_with_the_user(phi):
    with pytest.raises(PhiError, match="must end with a message of the user"):
        phi([{"role": "assistant", "content": "Hi"}])


def test_what_was_read_before_is_not_read_again_and_changes_nothing(phi):
    long = "word " * 50
    fresh = phi(long + "one")
    again = phi(long + "two")
    assert again.usage.cached_tokens >= 40
    phi.unload()
    assert phi(long + "two").text == again.text
    assert phi(long + "one").text == fresh.text


def test_beginning_with_the_tokens_of_another_reply_goes_on_as_it_did(phi):
    whole = phi(HAIKU, temperature=1.2)
    begun = phi(HAIKU, temperature=1.2, begin=[token.id for token in whole.tokens[:4]])
    assert begun.text == whole.text


@pytest.mark.parametrize(
    "options", [{"temperature": 1.2}, {"temperature": 0}, {"top_p": 0.3, "min_p": 0.2, "top_k": 3}]
)
def test_going_on_from_anywhere_in_another_reply_gives_the_same_reply(phi, options):
    whole = phi(HAIKU, top_logprobs=3, **options)
    for known in (1, len(whole.tokens) // 2, len(whole.tokens)):
        for fresh in (False, True):
            if fresh:
                phi.unload()
            again = phi(HAIKU, top_logprobs=3, known=whole.tokens[:known], **options)
            assert (again.text, again.tokens, again.finish_reason) == (whole.text, whole.tokens, whole.finish_reason)
            assert again.params["begin"] == [token.id for token in whole.tokens[:known]]


def test_the_likeliest_tokens_come_with_every_token(phi):
    reply = phi(HAIKU, top_logprobs=3, temperature=1)
    for token in reply.tokens:
        assert len(token.top) == 3
        assert token.top[0].logprob >= token.top[1].logprob >= token.top[2].logprob
        assert [token.id] == [chance.id for chance in token.top[token.rank - 1 : token.rank]] or token.rank > 3
        assert 0 < token.probability <= 1
    assert {token.rank for token in reply.tokens} > {1}


def test_an_answer_that_meets_the_end_of_the_context_ends_with_length(slow_model):
    reply = Phi(model=str(slow_model), seed=1)("a b c d " * 6, n_ctx=96)  # random weights: no token ends the answer
    assert reply.finish_reason == "length"
    assert reply.usage.prompt_tokens + reply.usage.completion_tokens == 96


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(phi):
    with pytest.raises(PhiError, match=r"the prompt has \d+ tokens, the context 64"):
        phi("a b c " * 100, n_ctx=64)


def test_a_second_question_waits_its_turn_and_says_so(slow_model):
    phi = Phi(model=str(slow_model), max_tokens=12)
    first = phi.stream("one")
    next(first)
    said = []
    second = threading.Thread(target=lambda: list(phi.stream("two", on_status=said.append)))
    second.start()
    while not said:
        time.sleep(0.01)
    list(first)
    second.join(30)
    assert said[0] == "waiting for another answer to end"
    assert phi.last.usage.completion_tokens == 12


def test_an_answer_that_is_half_read_holds_nobody_up(phi):
    alone = phi(HAIKU).text
    stream = phi.stream(HAIKU)
    first = next(stream)
    assert phi(HAIKU).text == alone
    assert first + "".join(stream) == alone


@pytest.mark.parametrize(("prompt", "begun"), [("go", True), ("puck " * 700, False)])
def test_stopping_from_another_thread_ends_decode_and_prefill(slow_model, prompt, begun):
    phi = Phi(model=str(slow_model), n_threads=1)
    greedy = phi("ice", temperature=0, max_tokens=5).text
    reading = threading.Event()
    stream = phi.stream(prompt, max_tokens=2000, on_status=lambda text: "reading" in text and reading.set())

    def stop():
        while not (stream.reply.tokens if begun else reading.is_set()):
            time.sleep(0.001)
        stream.stop()

    threading.Thread(target=stop).start()
    text = "".join(stream)
    assert stream.reply.finish_reason == "interrupted"
    assert stream.reply.text == text
    assert bool(stream.reply.tokens) is begun
    assert phi("ice", temperature=0, max_tokens=5).text == greedy


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_the_process_of_an_idle_model_ends(seconds):
    Phi(model="demo", keep_alive=seconds)("x", max_tokens=1)
    deadline = time.monotonic() + 10
    while shared.pid and time.monotonic() < deadline:
        time.sleep(0.01)
    assert shared.pid is None
    assert Phi(model="demo", keep_alive=seconds)("x", max_tokens=1).tokens


def test_another_model_replaces_the_loaded_one(slow_model):
    phi = Phi(model="demo")
    phi("x", max_tokens=1)
    phi("x", max_tokens=1, model=str(slow_model))
    assert shared.loaded == slow_model
    phi.unload()
    assert shared.loaded is None


def test_an_unrelated_question_does_not_cost_a_conversation_its_cache(phi):
    history = [{"role": "user", "content": "Tell me of ice. " * 30}, {"role": "assistant", "content": "It is cold."}]
    question = [*history, {"role": "user", "content": "And the sea?"}]
    phi(question, max_tokens=1)
    phi("What is a token? " * 30, max_tokens=1)
    assert phi(question, max_tokens=1).usage.cached_tokens > 100


def test_without_exactness_an_answers_own_tokens_are_taken_for_history(phi):
    first = phi("Write a haiku about the sea", exact=False)
    history = [{"role": "user", "content": first.prompt}, {"role": "assistant", "content": first.text}]
    question = [*history, {"role": "user", "content": "Another one"}]
    second = phi(question, exact=False)
    assert second.usage.cached_tokens > first.usage.prompt_tokens + 3
    exactly = phi(question)
    phi.unload()
    assert phi(question).text == exactly.text


class TestSeveralAnswers:
    def test_n_answers_are_a_list(self, phi):
        replies = phi(HAIKU, n=3, seed=7, max_tokens=8)
        assert [reply.seed for reply in replies] == [7, 8, 9]
        assert [reply.text for reply in replies] == [
            phi(HAIKU, n=1, seed=seed, max_tokens=8)[0].text for seed in (7, 8, 9)
        ]

    def test_without_a_seed_each_draws_its_own(self, phi):
        phi.seed = None
        assert len({reply.seed for reply in phi(HAIKU, n=4, max_tokens=2)}) == 4

    @pytest.mark.parametrize("n", [0, -1, True, 1.5, "3"])
    def test_what_is_no_count_is_refused(self, phi, n):
        with pytest.raises(PhiError, match="n is how many answers"):
            phi(HAIKU, n=n)


def test_the_keyword_options_are_those_that_a_question_takes():
    named = {
        name
        for name, parameter in inspect.signature(make_question).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert set(Options.__annotations__) == set(Phi.class_trait_names(config=True)) | named


def test_a_relative_path_is_that_of_the_caller_wherever_the_worker_began(slow_model, tmp_path, monkeypatch):
    Phi(model="demo")("x", max_tokens=1)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    Path("mine.gguf").symlink_to(slow_model)
    assert Phi(model="mine.gguf")("x", max_tokens=2).usage.completion_tokens == 2


def test_two_threads_that_read_one_stream_are_one_line(slow_model):
    stream = Phi(model=str(slow_model), max_tokens=3000, seed=1).stream("ice")
    next(stream)
    reader = threading.Thread(target=lambda: [None for _ in stream])
    reader.start()
    while not stream._reading.locked():
        time.sleep(0.001)
    with pytest.raises(PhiError, match="another thread is reading this answer"):
        stream.run()  # between two steps nobody reads
    stream.close()
    reader.join(30)
    assert stream.reply.finish_reason == "interrupted"


class TestInAnEventLoop:
    def test_tasks_read_their_streams_by_threads_and_a_call_follows(self, phi):
        async def read():
            stream = phi.stream(HAIKU, max_tokens=8)
            return [await asyncio.to_thread(next, stream) for _ in range(3)], stream

        async def ask():
            return await asyncio.gather(read(), read())

        (first, _), (second, held) = asyncio.run(ask())
        whole = phi(HAIKU, max_tokens=8).text  # both streams are half read
        assert first == second
        assert "".join(first) + "".join(held) == whole

    def test_an_awaited_stream_gives_the_whole_reply(self, phi):
        async def ask():
            return await phi.stream(HAIKU, seed=3, max_tokens=8)

        assert asyncio.run(ask()).text == phi(HAIKU, seed=3, max_tokens=8).text

    def test_pieces_come_while_the_loop_is_free(self, phi):
        async def ask():
            ticks, pieces = [], []

            async def tick():
                while True:
                    ticks.append(len(pieces))
                    await asyncio.sleep(0)

            ticking = asyncio.create_task(tick())
            async for piece in phi.stream(HAIKU, seed=3, max_tokens=8):
                pieces.append(piece)  # noqa: PERF401 (the other task looks at it meanwhile)
            ticking.cancel()
            return ticks, pieces

        ticks, pieces = asyncio.run(ask())
        assert "".join(pieces) == phi(HAIKU, seed=3, max_tokens=8).text
        assert len(set(ticks)) > 2

    def test_several_are_awaited_together(self, phi):
        async def ask():
            return await asyncio.gather(*(phi.stream(HAIKU, seed=seed, max_tokens=8) for seed in range(8)))

        assert [reply.text for reply in asyncio.run(ask())] == [
            phi(HAIKU, seed=seed, max_tokens=8).text for seed in range(8)
        ]

    def test_a_cancelled_task_keeps_what_there_is(self, phi):
        stream = phi.stream(HAIKU, max_tokens=100, repeat_penalty=1, stop=[])

        async def cancelled():
            task = asyncio.ensure_future(stream)
            while not stream.reply.tokens:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

        assert asyncio.run(cancelled())
        assert phi(HAIKU, seed=1, max_tokens=4).text
        assert stream.reply.finish_reason == "interrupted"

    def test_a_table_is_awaited_too(self, phi):
        async def ask():
            return await phi.stream_all([(HAIKU, {"seed": seed, "max_tokens": 4}) for seed in (1, 2)])

        assert [reply.seed for reply in asyncio.run(ask())] == [1, 2]
