"""The words of the haiku grammar with their syllables, read from ``lexicon.txt``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

VOWELS = "aeiou"
GERUNDS = {"begin": "beginning", "rerun": "rerunning"}


@dataclass(frozen=True)
class Word:
    """A word or short phrase, and how many syllables each of its words has."""

    text: str
    counts: tuple[int, ...]

    @staticmethod
    def parse(marked: str) -> Word:
        """Read ``goal-ie`` or ``on the fro-zen lake``: hyphens divide syllables, ``_`` stands for a space."""
        marked = marked.replace("_", " ").strip()
        return Word(marked.replace("-", ""), tuple(len(part.split("-")) for part in marked.split()))

    @property
    def syllables(self) -> int:
        return sum(self.counts)


def third_person(verb: Word) -> Word:
    """``glide`` to ``glides``; a sibilant adds a syllable (``rush`` to ``rushes``)."""
    text = verb.text
    hisses = bool(re.search(r"(s|x|z|ch|sh|ce|ge|se|ze)$", text))
    if re.search(r"[^aeiou]y$", text):
        text = text[:-1] + "ies"
    elif re.search(r"(s|x|z|ch|sh|[^o]o)$", text):
        text += "es"
    else:
        text += "s"
    return Word(text, (verb.syllables + hisses,))


def gerund(verb: Word) -> Word:
    """``glide`` to ``gliding``, ``run`` to ``running``; ``rattle`` to ``rattling`` adds no syllable."""
    text, count = verb.text, verb.syllables + 1
    if text in GERUNDS:
        return Word(GERUNDS[text], (count,))
    if re.search(r"[^aeiou]le$", text):
        return Word(text[:-1] + "ing", (verb.syllables,))
    if re.search(r"[^eyo]e$", text):
        return Word(text[:-1] + "ing", (count,))
    if verb.syllables == 1 and re.search(r"[^aeiou][aeiou][^aeiouwxy]$", text):
        return Word(text + text[-1] + "ing", (count,))
    return Word(text + "ing", (count,))


@dataclass(frozen=True)
class Topic:
    """A subject for haiku: how people name it, and the words of its field by part of speech."""

    name: str
    forms: tuple[str, ...]
    slots: dict[str, tuple[Word, ...]]

    @property
    def field(self) -> frozenset[str]:
        """Every word that shows the topic, lower case: nouns and verbs in all forms, and the places' nouns."""
        phrases = [word.text for slot in "NPUVSG" for word in self.slots[slot]] + [self.name, *self.forms]
        phrases += [word.text for word in self.slots["L"]]
        return frozenset(w for phrase in phrases for w in words(phrase) if w not in PLAIN)


# Words that show no topic although a topic's phrases contain them.
PLAIN = frozenset(
    "a an the on in at by of to my her its from off out up down past near side one two hand through over under above "
    "around among across along before behind below after beside between inside into with first and this as is "
    "deep day days old small little new long short big good best true going playing game block round".split()
)

SLOT_OF = {"things": "N", "many": "P", "stuff": "U", "do": "V", "like": "A", "where": "L"}


def words(text: str) -> list[str]:
    """The lower-case words of a text."""
    return re.findall(r"[a-z']+", text.lower())


@lru_cache(maxsize=1)
def topics() -> tuple[Topic, ...]:
    """All topics of ``lexicon.txt``, in its order."""
    found: list[Topic] = []
    blocks = re.split(r"\n(?=topic: )", Path(__file__).with_name("lexicon.txt").read_text(encoding="utf-8"))
    for block in blocks[1:]:
        rows = dict(line.split(": ", 1) for line in block.strip().splitlines() if not line.startswith("#"))
        name, *forms = (part.strip() for part in rows.pop("topic").split("|"))
        slots = {
            SLOT_OF[key]: tuple(Word.parse(item) for item in (row.split(";") if key == "where" else row.split()))
            for key, row in rows.items()
        }
        slots["S"] = tuple(third_person(verb) for verb in slots["V"])
        slots["G"] = tuple(gerund(verb) for verb in slots["V"])
        found.append(Topic(name.replace("-", ""), tuple(forms), slots))
    return tuple(found)
