"""Texts to be repeated: random words, lines and code, so that what is learnt is copying and not a text."""

from __future__ import annotations

import random

from training import exceptions, functions, haiku

ASK = (
    "Repeat this text: {}", "Repeat this text: {}", "Repeat after me: {}", "Repeat: {}", "Copy this text: {}", "Say this: {}",
    "Say: {}", "Say after me: {}", "Say exactly this: {}", "Please say: {}", "Repeat exactly this: {}", "Copy: {}",
    "Please repeat: {}", "Write this again: {}", "Echo: {}", "Repeat this text:\n{}", "Repeat the following text:\n\n{}",
)  # fmt: skip
HELD_OUT_ASK = ("Please say this back to me: {}", "Repeat exactly: {}")
ASK_CODE = ("Repeat this code:\n\n{}", "Copy this code:\n\n{}", "Repeat this cell:\n\n{}")
FUNCTION_WORDS = (
    "the a and of in to is it on my you we with for not but so as at by from this that are was be have".split()
)


TIMES = {2: "twice", 3: "three times", 4: "four times"}


def random_words(rng: random.Random, low: int = 2, high: int = 14) -> str:
    """A sequence of the grammar's words that mean nothing together, perhaps with a capital and a full stop."""
    table = list(haiku.syllable_table())
    count = rng.randint(low, high)
    text = " ".join(rng.choice(FUNCTION_WORDS if rng.random() < 0.3 else table) for _ in range(count))
    if rng.random() < 0.15:
        at = rng.randrange(len(text))
        text = f"{text[:at].strip()} {rng.randrange(1000)} {text[at:].strip()}".strip()
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:] + rng.choice(".!?.")
    return text


def syllable_noise(rng: random.Random) -> str:
    """Words of no language, so that copying does not lean on knowing them."""

    def word() -> str:
        return "".join(rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") for _ in range(rng.randint(1, 4)))

    return " ".join(word() for _ in range(rng.randint(1, 5)))


def copy_pair(rng: random.Random, held_out: bool = False) -> tuple[str, str]:
    """A request to repeat a text, and the text; ``held_out`` draws a wording that training never sees."""
    forms = HELD_OUT_ASK if held_out else ASK
    kind = rng.random()
    if kind < 0.12:
        code = exceptions.failure(rng).fixed if rng.random() < 0.6 else rng.choice(functions.functions()).write(rng)
        return rng.choice(ASK_CODE).format(functions.fenced(code)), functions.fenced(code)
    if kind < 0.22:
        text = rng.choice(list(haiku.grammars().values())).write(rng)
    elif kind < 0.32:
        text = syllable_noise(rng)
    elif kind < 0.40:
        text = "\n".join(random_words(rng, 2, 7) for _ in range(rng.randint(2, 5)))
    elif kind < 0.47:
        text = random_words(rng, 15, 60)
    elif kind < 0.485:
        text = random_words(rng, 60, 150)
    else:
        text = random_words(rng, 1, rng.choice((3, 6, 14)))
    if rng.random() < 0.12:  # the same again and again: the plainest lesson in copying
        count = rng.choice((2, 3, 4))
        return f"Repeat this {TIMES[count]}: {text}", "\n".join([text] * count)
    return rng.choice(forms).format(text), text
