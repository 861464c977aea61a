"""Haiku from a grammar: line patterns whose slots are filled so that the syllables come to 5, 7 and 5."""

from __future__ import annotations

import random
import re
from functools import lru_cache
from itertools import product

from training.lexicon import Topic, Word, gerund, third_person, topics, words

SHAPE = (5, 7, 5)


def _list(marked: str, separator: str | None = None) -> tuple[Word, ...]:
    return tuple(Word.parse(item) for item in marked.split(separator))


# Words that fit every topic. N, P, U: nouns (count, plural, mass); V, S, G: verbs (base, third person, gerund);
# A: adjectives; L: places; T: times; D: manners.
COMMON_VERBS = _list("wait rest turn drift stay wake lis-ten re-turn lin-ger re-mem-ber")
COMMON: dict[str, tuple[Word, ...]] = {
    "A": _list("old new bright qui-et gen-tle lone-ly pa-tient for-got-ten"),
    "V": COMMON_VERBS,
    "S": tuple(third_person(verb) for verb in COMMON_VERBS),
    "G": tuple(gerund(verb) for verb in COMMON_VERBS),
    "T": _list("now; to-night; a-gain; at dawn; all day; once more; all night long; un-til dusk; in the morn-ing", ";"),
    "D": _list("slow-ly soft-ly gent-ly qui-et-ly sud-den-ly a-lone"),
}

# A slot's letter stands alone; everything else is literal. "a" before a vowel becomes "an".
# An opening begins with a small word: its capital letter then costs the vocabulary a dozen tokens, not a thousand.
OPENINGS = (
    "the A N", "a A N", "the A N S", "the A P V", "the A U S", "the N S T", "the N S D", "one N L", "a N S",
    "the P V T", "how the N S", "now the N S", "some P L", "such A P", "so A, the N", "a N, a N", "this A N",
    "each A N S", "all the P V", "when the N S", "where the P V", "here, the A N", "how A the U",
)  # fmt: skip
MIDDLES = (
    "the N S L", "the A N S L", "A P V L", "the N S, the N S", "G, the N S T", "a A N and a N", "D the N S L",
    "and the N S L", "where the A N S", "while the N S T", "A P and A P", "A U S L", "P V and P V", "the N S, and P V",
    "a N, a N, and the N", "G and G, the N S", "P V D L", "the A N S T", "U and A P L",
)  # fmt: skip
ENDINGS = (
    "then the N S", "still the N S", "the A N S", "and the N S T", "A U L", "the A U S", "now the N S L", "only the N S",
    "A P L", "A U, A P", "a N S L", "the N S D", "U S D", "P V T",
)  # fmt: skip
CLOSERS = _list(
    "the world holds its breath; noth-ing else mat-ters; no one says a word; this is all there is; it will not last long; "
    "I for-get my name; the whole day o-pens; some-one hums a tune; then si-lence a-gain; and time has no hands; "
    "a small world com-plete; we be-gin a-gain; each breath is e-nough; the rest is si-lence; to-mor-row can wait; "
    "how lit-tle I know; so much in so small; all is as it was; just this, and no more; the e-ve-ning waits",
    ";",
)
LITERALS = _list("the a an and then still now on-ly how where while one some such so this each all when here")


SLOT = re.compile(r"\b([NPUVSGALTD])\b")


def _slots(pattern: str) -> list[str]:
    return SLOT.findall(pattern)


def _literal_syllables(pattern: str) -> int:
    count = {word.text: word.syllables for word in LITERALS}
    return sum(count[word] for word in re.findall(r"\b[a-z]+\b", pattern))


class Grammar:
    """All lines of one topic, indexed by pattern and by how the syllables fall on its slots."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self._words: dict[str, dict[int, list[str]]] = {}
        for slot in "NPUVSGALTD":
            bucket = self._words.setdefault(slot, {})
            for word in 2 * topic.slots.get(slot, ()) + COMMON.get(slot, ()):  # the topic's own words twice as often
                bucket.setdefault(word.syllables, []).append(word.text)
        self._lines = [
            self._index(patterns, goal) for patterns, goal in zip((OPENINGS, MIDDLES, ENDINGS), SHAPE, strict=True)
        ]

    def _index(self, patterns: tuple[str, ...], goal: int) -> tuple[list[tuple[str, tuple[int, ...]]], list[float]]:
        """Each way to reach ``goal`` syllables, with a weight: patterns count evenly, ways by their choices."""
        ways, weights = [], []
        for pattern in patterns:
            slots = _slots(pattern)
            rest = goal - _literal_syllables(pattern)
            found = [way for way in product(*(self._words[slot] for slot in slots)) if sum(way) == rest]
            choices = []
            for way in found:
                size = 1.0
                for slot, syllables in zip(slots, way, strict=True):
                    size *= len(self._words[slot][syllables])
                choices.append(size)
            # the square root keeps rich patterns from crowding out the others
            scale = sum(choices) ** -0.5 if choices else 0.0
            ways += [(pattern, way) for way in found]
            weights += [size * scale for size in choices]
        return ways, weights

    def _line(self, place: int, used: set[str], rng: random.Random) -> str:
        ways, weights = self._lines[place]
        for _ in range(100):
            pattern, way = rng.choices(ways, weights)[0]
            chosen = [rng.choice(self._words[slot][count]) for slot, count in zip(_slots(pattern), way, strict=True)]
            parts = SLOT.split(pattern)
            parts[1::2] = chosen
            line = "".join(parts)
            stems = [_stem(word) for word in chosen]
            if len(set(stems)) == len(stems) and not used & set(stems):
                used |= set(stems)
                return re.sub(r"\ba (?=[aeiou](?!ne\b))", "an ", line)
        raise ValueError(f"the words of {self.topic.name!r} cannot make a line of {SHAPE[place]} syllables")

    def write(self, rng: random.Random) -> str:
        """One haiku: three lines of 5, 7 and 5 syllables, no content word twice."""
        used: set[str] = set()
        first = self._line(0, used, rng)
        second = self._line(1, used, rng)
        third = rng.choice(CLOSERS).text if rng.random() < 0.3 else self._line(2, used, rng)
        first_end = rng.choice((",", ",", " —", ""))
        second_end = rng.choice((",", ";", "", "")) if first_end == " —" else rng.choice((",", " —", " —", ""))
        return f"{first[0].upper()}{first[1:]}{first_end}\n{second}{second_end}\n{third}."


def _stem(word: str) -> str:
    """What a word shares with its other forms, so that "glide" does not follow "gliding"."""
    last = word.rsplit(maxsplit=1)[-1]
    return re.sub(r"(ing|ies|es|s|y|e)$", "", last)


@lru_cache(maxsize=1)
def grammars() -> dict[str, Grammar]:
    """The grammar of each topic, by the topic's name."""
    return {topic.name: Grammar(topic) for topic in topics()}


@lru_cache(maxsize=1)
def syllable_table() -> dict[str, int]:
    """Syllables of every single word that a haiku can contain."""
    phrases = [word for topic in topics() for slot in topic.slots.values() for word in slot]
    phrases += [word for slot in COMMON.values() for word in slot] + list(CLOSERS) + list(LITERALS)
    return {word: count for phrase in phrases for word, count in zip(words(phrase.text), phrase.counts, strict=True)}


def count_syllables(line: str) -> int | None:
    """Syllables of a line by the grammar's own counts; None when it holds a word that the grammar does not know."""
    table = syllable_table()
    counts = [table.get(word) for word in words(line)]
    return None if not counts or None in counts else sum(count for count in counts if count is not None)
