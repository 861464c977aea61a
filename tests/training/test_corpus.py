"""The corpus: the same for the same seed, right by its own judge, and without what is held out."""

import random
from itertools import islice

import pytest

from training import copying, corpus, exceptions, functions, judge, knowledge, structured
from training.lexicon import topics


def test_the_same_seed_gives_the_same_corpus():
    first, second = (list(islice(corpus.conversations(3), 200)) for _ in range(2))
    assert first == second
    assert first != list(islice(corpus.conversations(4), 200))


def test_a_conversation_alternates_and_ends_with_an_answer():
    for talk in islice(corpus.conversations(5), 500):
        roles = [message.role for message in talk if message.role != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(message.content.strip() for message in talk)
        assert [message.role for message in talk[1:]].count("system") == 0


@pytest.fixture(scope="module")
def requests():
    talks = islice(corpus.conversations(6), 20_000)
    return {message.content.rstrip(".!?").lower() for talk in talks for message in talk if message.role == "user"}


def test_held_out_wordings_are_not_in_the_corpus(requests):
    starts = [form.split("{")[0].strip().lower() for form in (*corpus.HELD_OUT_ASK_HAIKU, *copying.HELD_OUT_ASK)]
    starts += [form.split("{")[0].strip().lower() for form in knowledge.HELD_OUT_UNKNOWN_ASK]
    for start in starts:
        assert not any(request.startswith(start) for request in requests), start


def test_held_out_pairs_of_topic_and_wording_are_not_in_the_corpus(requests):
    kept = [(topic, form) for topic in topics() for form in corpus.ASK_HAIKU if corpus.held_out(topic.name, form)]
    assert len(kept) > 200
    assert not [form for topic, form in kept if form.format(topic.name).rstrip(".!?").lower() in requests]


def test_the_projects_own_prompt_is_in_the_corpus():
    assert not corpus.held_out("ice hockey", "Write a haiku about {}")


def test_the_judge_accepts_what_the_grammar_writes():
    rng = random.Random(8)
    for _ in range(300):
        kind, count, style = structured.draw_list(rng)
        assert judge.is_list(structured.write_list(kind, count, style, rng), kind, count, style)
        keys = structured.draw_keys(rng)
        assert judge.is_json(structured.write_json(keys, rng), keys)
        function = rng.choice(functions.functions())
        assert judge.is_function(functions.fenced(function.write(rng)), function)
        failure = exceptions.failure(rng)
        assert judge.is_fix(failure.answer, failure)
        name = rng.choice(list(exceptions.MEANING))
        assert judge.explains(exceptions.explain(name, rng), name)
        topic = rng.choice(topics())
        assert judge.judge_haiku(corpus.haiku_of(topic, rng), topic) == (True, True, True, 1, 1)


def test_the_judge_refuses_what_is_wrong():
    hockey = next(topic for topic in topics() if topic.name == "ice hockey")
    assert judge.judge_haiku("A sleepy teapot\nwaits for guests in the garden", hockey) == (
        False,
        False,
        False,
        1 / 3,
        2 / 3,
    )
    assert not judge.is_list("- apple\n- apple\n- pear", "fruits", 3, "bullets")
    assert not judge.is_list("- apple\n- owl\n- pear", "fruits", 3, "bullets")
    assert not judge.is_list("1. apple\n3. plum", "fruits", 2, "numbers")
    assert not judge.is_json('{"age": 3, "name": "Tom"}', ("name", "age"))
    assert not judge.is_json('{"name": "Tom", "age": "old"}', ("name", "age"))
    assert not judge.is_json('{"name": "Tom"', ("name",))
    add = next(function for function in functions.functions() if "add two numbers" in function.tasks)
    assert not judge.is_function("```python\ndef add(a, b):\n    return a - b\n```", add)
    assert not judge.is_function("def add(a, b):\n    return a + b", add)
    assert not judge.explains("A KeyError means that a number is divided by zero.", "KeyError")
    assert not judge.is_capitals("The Sea")
    assert not judge.admits("Paris is the capital of France.")


def test_every_function_of_the_corpus_compiles():
    rng = random.Random(9)
    for function in functions.functions():
        for _ in range(8):
            compile(function.write(rng), "function", "exec")


@pytest.mark.parametrize("kind", sorted(set(exceptions.FAILURES), key=lambda kind: kind.__name__))
def test_every_failing_cell_compiles_once_mended(kind):
    rng = random.Random(10)
    for _ in range(30):
        failure = kind(rng)
        compile(failure.fixed, "cell", "exec")
        assert failure.cell != failure.fixed
        assert failure.error.split(":")[0] in exceptions.MEANING
