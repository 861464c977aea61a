"""Asks the shipped model thousands of questions and writes REPORT.md: ``python -m training.evaluate``."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from phi_magic import Phi
from training import copying, corpus, exceptions, functions, judge, knowledge, structured
from training.corpus import Conversation, Message
from training.lexicon import Topic, topics
from training.recipe import CORPUS_TALKS, SEED

#: Temperature alone, nothing truncated or penalised; and what a user gets who sets nothing.
PLAIN = {"temperature": 0.8, "top_p": 1.0, "repeat_penalty": 1.0}
DEFAULTS = {"temperature": 0.8, "top_p": 0.95, "repeat_penalty": 1.1}
SETTINGS: dict[str, dict[str, float]] = {
    "0.8 alone": PLAIN,
    "0.8, the defaults": DEFAULTS,
    "1.5 alone": {**PLAIN, "temperature": 1.5},
    "1.5, top-p 0.9": {**PLAIN, "temperature": 1.5, "top_p": 0.9},
    "3 alone": {**PLAIN, "temperature": 3.0},
}
GOALS = {"three lines": 0.97, "on topic": 0.95, "5-7-5": 0.90, "distinct": 0.60}


@dataclass(frozen=True)
class Case:
    """One question of one ability, and what makes an answer right."""

    ability: str
    talk: Conversation
    right: Callable[[str], bool]


class Asker:
    """Asks the shipped model, each question with a seed of its own, so that a report can be made again."""

    def __init__(self, model: str) -> None:
        self._phi = Phi(model=model)
        self._seed = 0

    def __call__(self, talk: Conversation, **settings: float) -> str:
        self._seed += 1
        messages: Any = [message._asdict() for message in talk]
        return self._phi(messages, seed=self._seed, **settings).text


def haiku_table(
    ask: Asker, prompts: list[tuple[Topic, str]], known: set[str], settings: dict[str, float]
) -> list[float]:
    """Shares: those of :class:`judge.HaikuMarks`, distinct ones, and those that the training text does not hold."""
    # A haiku has less than 40 tokens: what goes on beyond 100 is none already.
    texts = [ask([Message("user", prompt)], **settings, max_tokens=100) for _, prompt in prompts]
    marks = [judge.judge_haiku(text, topic) for text, (topic, _) in zip(texts, prompts, strict=True)]
    count = len(texts)
    spoken = [corpus.spoken(text) for text in texts]
    return [
        *(sum(mark[i] for mark in marks) / count for i in range(len(judge.HaikuMarks._fields))),
        len(set(spoken)) / count,
        sum(text not in known for text in spoken) / count,
    ]


def known_haiku() -> set[str]:
    """Every answer that the training text holds, without case and punctuation."""
    talks = islice(corpus.conversations(SEED), CORPUS_TALKS)
    return {
        corpus.spoken(m.content) for talk in talks for m in talk if m.role == "assistant" and m.content.count("\n") == 2
    }


def cases(rng: random.Random, count: int) -> Iterator[Case]:
    """Questions of every ability but the single haiku, in wordings and compositions that training never saw."""
    for _ in range(count):
        fact = rng.choice(knowledge.facts())
        yield Case("a question it knows, wording seen", _ask(fact.ask(rng)), _one_of(fact.answers))
        about = rng.choice([fact for fact in knowledge.facts() if fact.names])
        yield Case("a question it knows, wording unseen", _ask(about.ask(rng, held_out=True)), _one_of(about.answers))
        yield Case("a question it cannot know, unseen", _ask(knowledge.unknown_question(rng, True)), judge.admits)

        kind, number, style = structured.draw_list(rng)
        request = structured.list_request(kind, number, style, rng, held_out=True)
        yield Case("a list, wording unseen", _ask(request), _bound(judge.is_list, kind, number, style))
        keys = structured.draw_keys(rng)
        while not corpus.held_out(" ".join(sorted(keys)), "json"):
            keys = structured.draw_keys(rng)
        yield Case("JSON, keys unseen together", _ask(structured.json_request(keys, rng)), _bound(judge.is_json, keys))
        last = rng.choice((5, 10, 20, 50, 100))
        yield Case("counting", _ask(structured.count_request(last, rng)), _one_of((structured.write_count(last),)))

        function = rng.choice(functions.functions())
        yield Case("a function, wording seen", _ask(function.ask(rng)), _bound(judge.is_function, function))
        yield Case("a function, wording unseen", _ask(function.ask(rng, True)), _bound(judge.is_function, function))
        name = rng.choice(list(exceptions.MEANING))
        yield Case("an exception, wording unseen", _ask(exceptions.ask(name, rng, True)), _bound(judge.explains, name))
        failure = exceptions.failure(rng)
        yield Case("a failing cell mended", _ask(failure.prompt), _bound(judge.is_fix, failure))
        request, text = copying.copy_pair(rng)
        yield Case("copying", _ask(request), _one_of((text,)))
        request, text = copying.copy_pair(rng, held_out=True)
        yield Case("copying, wording unseen", _ask(request), _one_of((text,)))

        topic = rng.choice(topics())
        question = corpus.unseen_haiku_request(topic, rng)
        system = rng.choice(corpus.NEUTRAL_SYSTEM)
        yield Case("a haiku under a neutral system message", _ask(question, system), _bound(_good_haiku, topic))
        system = corpus.HELD_OUT_SYSTEM["capitals"]
        yield Case("system message: capitals, unseen", _ask(question, system), judge.is_capitals)
        system = corpus.HELD_OUT_SYSTEM["pirate"]
        yield Case("system message: pirate, unseen", _ask(fact.ask(rng), system), judge.is_pirate)
        system = corpus.HELD_OUT_SYSTEM["haiku"]
        yield Case("system message: only haiku, unseen", _ask(fact.ask(rng), system), _three_lines)

        second = rng.choice(topics())
        history = corpus.haiku_talk(rng)
        yield Case("now about another topic", history + _ask(_next(second, rng)), _bound(_good_haiku, second))
        history = [Message("user", question), Message("assistant", corpus.haiku_of(topic, rng))]
        again = rng.choice(corpus.HELD_OUT_AGAIN)
        yield Case("another one", history + _ask(again), _bound(_new_haiku, topic, history[-1].content))
        long = corpus.mixed_talk(rng, 12)
        yield Case("a haiku after 12 turns and more", long + _ask(question), _bound(_good_haiku, topic))


def _ask(question: str, system: str = "") -> Conversation:
    return [Message("system", system)] * bool(system) + [Message("user", question)]


def _next(topic: Topic, rng: random.Random) -> str:
    return rng.choice(corpus.HELD_OUT_NEXT_TOPIC).format(topic.name)


def _bound(check: Callable[..., bool], *arguments: object) -> Callable[[str], bool]:
    return lambda text: check(text, *arguments)


def _one_of(answers: tuple[str, ...]) -> Callable[[str], bool]:
    return lambda text: text.strip() in answers


def _good_haiku(text: str, topic: Topic) -> bool:
    marks = judge.judge_haiku(text, topic)
    return marks.three_lines and marks.on_topic


def _new_haiku(text: str, topic: Topic, before: str) -> bool:
    return _good_haiku(text, topic) and corpus.spoken(text) != corpus.spoken(before)


def _three_lines(text: str) -> bool:
    return text.strip().count("\n") == 2


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def report(model: str, haiku_count: int, case_count: int, show: Callable[[str], object]) -> str:
    """The report as Markdown; ``show`` is told each line as it is made."""
    ask, rng = Asker(model), random.Random(7)
    known = known_haiku()
    everyone = topics()
    seen = [(topic, corpus.haiku_request(topic, rng)) for topic in islice(_cycle(everyone), haiku_count)]
    unseen = [(topic, corpus.unseen_haiku_request(topic, rng)) for topic in islice(_cycle(everyone), haiku_count)]
    lines: list[str] = []

    def add(line: str) -> None:
        lines.append(line)
        show(line)

    add("# What the shipped model does\n")
    add("Made by `python -m training.evaluate`. Every answer is sampled; each has a seed of its own.\n")
    add(f"## Haiku: {len(everyone)} topics, {haiku_count} prompts a row\n")
    add(
        "Unseen: the wording is new, or it was never asked of this topic in training. Syllables by the grammar's own counts;"
    )
    add(
        "a word that the grammar does not know counts as wrong. In measure: lines that have their 5, 7 or 5. New: the haiku is"
    )
    add("nowhere in the training text.\n")
    add("| sampling | prompts | three lines | on topic | 5-7-5 | lines in measure | known words | distinct | new |")
    add("|---|---|---|---|---|---|---|---|---|")
    found: dict[str, list[list[float]]] = {}
    for name, settings in SETTINGS.items():
        for kind, prompts in (("seen", seen), ("unseen", unseen)):
            shares = haiku_table(ask, prompts, known, settings)
            found.setdefault(name, []).append(shares)
            add(f"| {name} | {kind} | " + " | ".join(map(_percent, shares)) + " |")
    add("\nGoals at 0.8: " + ", ".join(f"{name} {_percent(goal)}" for name, goal in GOALS.items()) + ".\n")
    add(mended(found))

    add(f"## Other abilities: {case_count} prompts each\n")
    add("| ability | 0.8 alone | 0.8, the defaults |")
    add("|---|---|---|")
    everything = list(cases(rng, case_count))
    for ability in dict.fromkeys(case.ability for case in everything):
        chosen = [case for case in everything if case.ability == ability]
        shares = [
            sum(case.right(ask(case.talk, **settings)) for case in chosen) / len(chosen)
            for settings in (PLAIN, DEFAULTS)
        ]
        add(f"| {ability} | " + " | ".join(map(_percent, shares)) + " |")

    add("\n## One prompt, sampled\n")
    for name, settings in SETTINGS.items():
        add(f"`Write a haiku about ice hockey`, {name}:\n")
        for _ in range(3):
            text = ask([Message("user", "Write a haiku about ice hockey")], **settings, max_tokens=60)
            add("    " + text.replace("\n", "\n    ") + "\n")
    return "\n".join(lines) + "\n"


def mended(found: dict[str, list[list[float]]]) -> str:
    """What top-p 0.9 gives back of what temperature 1.5 takes from 0.8, in a sentence."""
    plain, frayed, truncated = (
        [sum(column) / len(column) for column in zip(*found[name], strict=True)]
        for name in ("0.8 alone", "1.5 alone", "1.5, top-p 0.9")
    )
    names = [
        name.replace("_", " ").replace("five seven five", "whole haiku in 5-7-5") for name in judge.HaikuMarks._fields
    ]
    shares = [
        f"{name} {_percent((three - two) / (one - two))}"
        for name, one, two, three in zip(names, plain, frayed, truncated, strict=False)
    ]
    return f"Of what 1.5 takes, top-p 0.9 gives back: {', '.join(shares)}.\n"


def _cycle(everyone: tuple[Topic, ...]) -> Iterator[Topic]:
    while True:
        yield from everyone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo", help="the model to ask (default %(default)s)")
    parser.add_argument("--haiku", type=int, default=300, help="haiku prompts a row (default %(default)s)")
    parser.add_argument("--cases", type=int, default=50, help="prompts for each other ability (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("REPORT.md"))
    options = parser.parse_args()
    text = report(options.model, options.haiku, options.cases, lambda line: sys.stdout.write(line + "\n"))
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
