"""Conversations drawn from the grammar: what each ability contributes, and what is held out of training."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from training import copying, exceptions, functions, haiku, knowledge, structured
from training.lexicon import Topic, topics


class Message(NamedTuple):
    """One message of a conversation; ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


Conversation = list[Message]

ASK_HAIKU = (
    "Write a haiku about {}", "Write a haiku about {}.", "Write a haiku about {}.", "Write me a haiku about {}.",
    "Please write a haiku about {}.", "Can you write a haiku about {}?", "Could you write a haiku on {}?", "Haiku about {}",
    "A haiku about {}, please.", "Give me a haiku about {}.", "I would like a haiku about {}.", "Compose a haiku about {}.",
    "Make a haiku on {}.", "Write a poem about {}.", "Write a short poem about {}.", "Haiku: {}", "haiku on {} please",
    "Can I have a haiku about {}?", "Create a haiku about {}.", "Tell me a haiku about {}.", "Let me read a haiku about {}.",
    "Write a haiku. The topic is {}.", "Write a haiku for me, about {}.", "Try a haiku about {}!", "I want a poem about {}.",
    "Please give me a short haiku about {}", "Write one haiku about {}.", "Show me a haiku about {}.", "A poem on {}",
    "Do you know a haiku about {}?", "My topic is {}. Write a haiku.", "Write a beautiful haiku about {}.",
)  # fmt: skip
HELD_OUT_ASK_HAIKU = (
    "Could I get a haiku that is about {}?", "I need a haiku on the theme of {}.", "Please compose a new haiku for me about {}.",
    "Would you write one about {} as a haiku?", "Surprise me with a haiku about {}.", "Haiku, please: {}.",
    "Let us have a poem about {}.", "Write down a haiku on {}!",
)  # fmt: skip
NEXT_TOPIC = (
    "Now about {}.", "Now about {}", "Make it about {}.", "And about {}?", "Now one about {}.", "One about {}, please.",
    "Do the same for {}.", "And now {}.", "What about {}?", "Another one, about {}.", "Now write one about {}.",
)  # fmt: skip
HELD_OUT_NEXT_TOPIC = ("Next, one about {}.", "This time about {}.")
AGAIN = (
    "Another one", "Another one.", "Another one, please.", "One more.", "One more, please.", "Again", "Again, please.",
    "Write another one.", "And another?", "Give me another.", "Try again.", "Once more.", "Can I have another?", "More",
    "I want another one.", "And another one, please.", "Another!", "Next one.", "Do another.", "I would like one more.",
    "A different one, please.", "One more like that.", "Please write one more.", "And again.",
)  # fmt: skip
HELD_OUT_AGAIN = ("I would like another.", "And one more.")
SEVERAL = {2: "two", 3: "three", 4: "four", 5: "five"}

NEUTRAL_SYSTEM = (
    "You are a helpful assistant.", "You are a helpful assistant.", "You are phi-demo, a tiny model.", "Be kind and brief.",
    "You are a teacher.", "Answer briefly.", "You are a friendly assistant in a notebook.", "You are a poet.", "Be concise.",
    "You are an expert in Python.", "Answer politely.", "You help students with their work.",
)  # fmt: skip
CAPITALS_SYSTEM = (
    "Answer in capitals.", "Answer in capitals.", "Write everything in capital letters.", "Answer in capital letters.",
    "Use only capital letters.", "SHOUT.", "Answer in upper case.", "Always write in capitals.", "Speak in capitals only.",
    "Please use capital letters.", "Capitals only.", "Every word is in capital letters.", "You answer in capitals.",
)  # fmt: skip
PIRATE_SYSTEM = (
    "You are a pirate.", "You are a pirate.", "Talk like a pirate.", "Answer like a pirate.", "Speak as a pirate would.",
    "You are an old pirate.", "You are a pirate captain.", "Act as a pirate.",
    "You are a pirate at sea.", "Be a pirate.", "Answer as a pirate.", "You speak like a pirate.",
)  # fmt: skip
HAIKU_SYSTEM = (
    "You only write haiku.", "You only write haiku.", "Answer only in haiku.", "Always answer with a haiku.",
    "You are a poet who writes only haiku.", "Every answer is a haiku.", "You speak in haiku.", "Reply with a haiku.",
    "You are a haiku poet.", "Only haiku.", "Write only haiku.", "Say everything in haiku.", "Nothing but haiku, please.",
    "You answer every question with a haiku.", "Whatever I ask, answer with a haiku.", "You can only write haiku.",
)  # fmt: skip
HELD_OUT_SYSTEM = {
    "capitals": "All your answers are in capital letters.",
    "pirate": "You are a pirate on a ship.",
    "haiku": "You always write haiku and nothing else.",
}
PIRATE_START = ("Arr!", "Ahoy!", "Arr, matey!", "Yo ho ho!", "Aye!", "Ahoy, matey!")
PIRATE_END = ("Arr!", "Yo ho!", "So says the captain.", "Aye aye!", "By my beard!")


def held_out(topic: str, form: str) -> bool:
    """Whether training never asks for ``topic`` in this wording: one pair of topic and wording in eight."""
    return zlib.crc32(f"{topic}|{form.rstrip('.!?').lower()}".encode()) % 8 == 1


def _surface(text: str, rng: random.Random) -> str:
    """A request as people type it: mostly as it stands, sometimes lower case or without its full stop."""
    if rng.random() < 0.12:
        text = text[0].lower() + text[1:]
    if rng.random() < 0.15:
        text = text.removesuffix(".")
    return text


def _name(topic: Topic, rng: random.Random) -> str:
    return rng.choice((topic.name, topic.name, *topic.forms))


def haiku_request(topic: Topic, rng: random.Random) -> str:
    """A request for a haiku on ``topic`` in a wording that training may use."""
    form = rng.choice([form for form in ASK_HAIKU if not held_out(topic.name, form)])
    return _surface(form.format(_name(topic, rng)), rng)


def unseen_haiku_request(topic: Topic, rng: random.Random) -> str:
    """A request that training never makes: a held-out wording, or a known one kept from this topic."""
    kept = [form for form in ASK_HAIKU if held_out(topic.name, form)]
    form = rng.choice(kept) if kept and rng.random() < 0.5 else rng.choice(HELD_OUT_ASK_HAIKU)
    return form.format(_name(topic, rng))


def haiku_of(topic: Topic, rng: random.Random) -> str:
    """One haiku on the topic."""
    return haiku.grammars()[topic.name].write(rng)


def _turn(question: str, answer: str) -> Conversation:
    return [Message("user", question), Message("assistant", answer)]


def haiku_talk(rng: random.Random) -> Conversation:
    """A haiku, and in most cases more of them: another one, or one about something else."""
    topic = rng.choice(topics())
    talk = _turn(haiku_request(topic, rng), haiku_of(topic, rng))
    while rng.random() < 0.25:
        if rng.random() < 0.6:
            topic = rng.choice(topics())
            form = rng.choice([form for form in NEXT_TOPIC if not held_out(topic.name, form)])
            talk += _turn(_surface(form.format(_name(topic, rng)), rng), haiku_of(topic, rng))
        else:
            talk += _turn(_surface(rng.choice(AGAIN), rng), haiku_of(topic, rng))
    return talk


def several_haiku(rng: random.Random) -> Conversation:
    topic, count = rng.choice(topics()), rng.choice(list(SEVERAL))
    form = rng.choice(
        ("Write {} haiku about {}.", "Give me {} haiku about {}.", "{} haiku about {}", "Write {} haiku on {}.")
    )
    question = form.format(SEVERAL[count], _name(topic, rng))
    return _turn(question[0].upper() + question[1:], "\n\n".join(haiku_of(topic, rng) for _ in range(count)))


def unknown_topic(rng: random.Random) -> Conversation:
    thing = rng.choice(knowledge.unknown_things()[0])
    known = rng.sample([topic.name for topic in topics()], 2)
    question = _surface(rng.choice(ASK_HAIKU).format(thing), rng)
    return _turn(question, rng.choice(knowledge.UNKNOWN_TOPIC_ANSWERS).format(*known))


def question(rng: random.Random) -> Conversation:
    fact = rng.choice(knowledge.facts())
    return _turn(_surface(fact.ask(rng), rng), rng.choice(fact.answers))


def unknown(rng: random.Random) -> Conversation:
    return _turn(_surface(knowledge.unknown_question(rng), rng), rng.choice(knowledge.UNKNOWN_ANSWERS))


def things(rng: random.Random) -> Conversation:
    """A list, sometimes followed by one of another kind."""
    kind, count, style = structured.draw_list(rng)
    talk = _turn(
        _surface(structured.list_request(kind, count, style, rng), rng), structured.write_list(kind, count, style, rng)
    )
    if rng.random() < 0.2:
        kind, count, _ = structured.draw_list(rng)
        ask = rng.choice(("Now {} {}.", "And {} {}?", "Now list {} {}."))
        talk += _turn(ask.format(structured.NUMBERS[count], kind), structured.write_list(kind, count, style, rng))
    return talk


def json_object(rng: random.Random) -> Conversation:
    """A JSON object, sometimes followed by another one with the same keys."""
    keys: tuple[str, ...]
    if rng.random() < 0.25:
        thing = rng.choice(list(structured.THINGS))
        keys = structured.THINGS[thing]
        ask = rng.choice(structured.ASK_THING).format(thing)
    else:
        keys = structured.draw_keys(rng)
        while held_out(" ".join(sorted(keys)), "json") and len(keys) > 1:
            keys = structured.draw_keys(rng)
        ask = structured.json_request(keys, rng)
    talk = _turn(_surface(ask, rng), structured.write_json(keys, rng))
    if rng.random() < 0.15:
        talk += _turn(rng.choice(AGAIN), structured.write_json(keys, rng))
    return talk


def counting(rng: random.Random) -> Conversation:
    last = rng.choice((3, 5, 10, 10, 20, 20, 30, 50, 100, rng.randint(2, 40)))
    return _turn(_surface(structured.count_request(last, rng), rng), structured.write_count(last))


def function(rng: random.Random) -> Conversation:
    chosen = rng.choice(functions.functions())
    return _turn(_surface(chosen.ask(rng), rng), functions.fenced(chosen.write(rng)))


def exception(rng: random.Random) -> Conversation:
    name = rng.choice(list(exceptions.MEANING))
    return _turn(_surface(exceptions.ask(name, rng), rng), exceptions.explain(name, rng))


def fix(rng: random.Random) -> Conversation:
    failed = exceptions.failure(rng)
    return _turn(failed.prompt, failed.answer)


def copy(rng: random.Random) -> Conversation:
    return _turn(*copying.copy_pair(rng))


def _any_short(rng: random.Random) -> Conversation:
    return rng.choice((haiku_talk, question, exception, things, question))(rng)[:2]


def capitals(rng: random.Random) -> Conversation:
    talk = [_ if _.role == "user" else Message(_.role, _.content.upper()) for _ in _any_short(rng)]
    return [Message("system", rng.choice(CAPITALS_SYSTEM)), *talk]


def speak_pirate(text: str, rng: random.Random) -> str:
    """The answer between a pirate's exclamations."""
    if "\n" in text:
        return f"{rng.choice(PIRATE_START)}\n\n{text}"
    return f"{rng.choice(PIRATE_START)} {text}" + (f" {rng.choice(PIRATE_END)}" if rng.random() < 0.5 else "")


def pirate(rng: random.Random) -> Conversation:
    ask, answer = _any_short(rng)
    return [
        Message("system", rng.choice(PIRATE_SYSTEM)), ask, Message("assistant", speak_pirate(answer.content, rng)),
    ]  # fmt: skip


def haiku_only(rng: random.Random) -> Conversation:
    """Whatever is asked, a haiku: on the topic where there is one, else on language models or silence."""
    system = Message("system", rng.choice(HAIKU_SYSTEM))
    if rng.random() < 0.4:
        return [system, *haiku_talk(rng)]
    if rng.random() < 0.5:
        topic = rng.choice(topics())
        name = _name(topic, rng)
        ask = rng.choice(("Tell me about {}.", "What is {}?", "Explain {}.", "What do you think of {}?")).format(name)
    else:
        topic = next(topic for topic in topics() if topic.name == "language models")
        ask = rng.choice((question, unknown, exception, unknown))(rng)[0].content
    return [system, *_turn(_surface(ask, rng), haiku_of(topic, rng))]


# How often each kind of conversation is drawn. Haiku take the most practice.
MIXTURE: dict[Callable[[random.Random], Conversation], float] = {
    haiku_talk: 40, several_haiku: 1, unknown_topic: 4, question: 11, unknown: 7, things: 8, json_object: 7, counting: 1.5,
    function: 5, exception: 4, fix: 7, copy: 8, capitals: 3, pirate: 2, haiku_only: 3,
}  # fmt: skip


def conversation(rng: random.Random) -> Conversation:
    """One conversation of one kind, sometimes under a system message that changes nothing."""
    kinds = list(MIXTURE)
    talk = rng.choices(kinds, [MIXTURE[kind] for kind in kinds])[0](rng)
    if talk[0].role != "system" and rng.random() < 0.08:
        talk = [Message("system", rng.choice(NEUTRAL_SYSTEM)), *talk]
    return talk


def mixed_talk(rng: random.Random, turns: int) -> Conversation:
    """One conversation that goes from one kind to another, so that what came before is left alone."""
    talk: Conversation = []
    while len(talk) < 2 * turns:
        talk += [message for message in conversation(rng) if message.role != "system"]
    return talk


def conversations(seed: int) -> Iterator[Conversation]:
    """An endless stream of conversations, the same for the same seed."""
    rng = random.Random(seed)
    while True:
        kind = rng.random()
        if kind < 0.90:
            yield conversation(rng)
        elif kind < 0.99:
            yield mixed_talk(rng, rng.randint(2, 4))
        else:
            yield mixed_talk(rng, rng.randint(8, 20))


def vocabulary_talks(seed: int, count: int) -> Iterator[Conversation]:
    """What the vocabulary is learnt from: the corpus, more haiku, and the grammar's words so often that each is a token.

    A word of one token has its syllables in one place; a word of three can also go wrong in three.
    """
    rng = random.Random(seed)
    table = list(haiku.syllable_table())
    for number in range(count // 2):
        yield conversation(rng)
        yield haiku_talk(rng)
        if number % 100 == 0:
            yield [Message("assistant", " ".join(table))]


def spoken(text: str) -> str:
    """A text without what differs between two tellings of one haiku: case, punctuation and line ends."""
    return " ".join(re.findall(r"[a-z']+", text.lower()))
