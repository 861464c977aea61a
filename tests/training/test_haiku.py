"""The grammar keeps its own rules: syllables, forms of verbs, words of the topic."""

import random
from collections import defaultdict

import pytest

from training import haiku
from training.lexicon import Word, gerund, third_person, topics, words


def test_every_haiku_has_five_seven_and_five_syllables():
    rng = random.Random(0)
    for grammar in haiku.grammars().values():
        for _ in range(20):
            lines = grammar.write(rng).split("\n")
            assert tuple(haiku.count_syllables(line) for line in lines) == haiku.SHAPE, lines


def test_every_haiku_has_a_word_of_its_topic():
    rng = random.Random(1)
    for grammar in haiku.grammars().values():
        for _ in range(20):
            text = grammar.write(rng)
            assert grammar.topic.field & set(words(text)), (grammar.topic.name, text)


def test_a_word_has_one_count_wherever_it_stands():
    counts = defaultdict(set)
    for topic in topics():
        for slot in topic.slots.values():
            for phrase in slot:
                for word, count in zip(words(phrase.text), phrase.counts, strict=True):
                    counts[word].add(count)
    assert {word: found for word, found in counts.items() if len(found) > 1} == {}


def test_a_line_with_a_strange_word_has_no_count():
    assert haiku.count_syllables("the puck glides on ice") == 5
    assert haiku.count_syllables("the puck glides on qwrtz") is None
    assert haiku.count_syllables("") is None


def test_there_are_more_topics_than_promised():
    names = [topic.name for topic in topics()]
    assert len(names) == len(set(names)) >= 60


@pytest.mark.parametrize(
    ("verb", "third", "ing"),
    [
        ("glide", ("glides", 1), ("gliding", 2)),
        ("rush", ("rushes", 2), ("rushing", 2)),
        ("run", ("runs", 1), ("running", 2)),
        ("rat-tle", ("rattles", 2), ("rattling", 2)),
        ("fly", ("flies", 1), ("flying", 2)),
        ("play", ("plays", 1), ("playing", 2)),
        ("ech-o", ("echoes", 2), ("echoing", 3)),
        ("flow", ("flows", 1), ("flowing", 2)),
        ("be-gin", ("begins", 2), ("beginning", 3)),
    ],
)
def test_verbs_take_their_forms_and_syllables(verb, third, ing):
    word = Word.parse(verb)
    for form, (text, count) in ((third_person(word), third), (gerund(word), ing)):
        assert (form.text, form.syllables) == (text, count)


def test_haiku_seldom_repeat():
    rng = random.Random(2)
    grammar = haiku.grammars()["ice hockey"]
    assert len({grammar.write(rng) for _ in range(500)}) > 490
