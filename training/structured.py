"""Lists, small JSON objects and counting: requests and answers of a fixed form."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

KINDS: dict[str, str] = {
    "fruits": "apple banana cherry grape lemon mango orange peach pear plum",
    "vegetables": "carrot onion potato tomato cabbage spinach pepper celery pea leek",
    "animals": "cat dog horse owl fox bear whale rabbit tiger mouse",
    "birds": "owl eagle sparrow robin crow swan duck heron gull thrush",
    "fish": "trout salmon tuna cod eel carp pike shark herring perch",
    "colors": "red blue green yellow orange purple white black gray pink",
    "flowers": "rose tulip daisy lily poppy iris violet orchid lotus aster",
    "trees": "oak maple pine birch elm willow ash cedar beech fir",
    "planets": "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune",
    "countries": "France Japan Brazil Norway Kenya Canada India Peru Spain Greece",
    "cities": "Paris Tokyo London Rome Oslo Cairo Lima Berlin Madrid Vienna",
    "sports": "tennis football hockey chess swimming running golf rugby skiing cycling",
    "instruments": "piano guitar violin flute drum harp cello trumpet organ banjo",
    "drinks": "tea coffee water juice milk cocoa lemonade cider soda wine",
    "tools": "hammer saw drill wrench file pliers level chisel screwdriver axe",
    "seasons": "spring summer autumn winter",
    "months": "January March April May June July August October November December",
    "days": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "names": "Mira Tom Ana Leo Ida Max Eva Sam Nora Ben",
    "programming languages": "Python Java Rust Go C Ruby Swift Julia Lua Perl",
    "Python types": "int float str list tuple dict set bool bytes complex",
    "Python keywords": "if else for while def class return import try with",
    "clothes": "shirt coat hat scarf shoe sock glove dress belt boot",
    "weather words": "rain snow wind fog hail storm sun cloud frost mist",
    "body parts": "hand foot head arm leg eye ear nose knee neck",
    "shapes": "circle square triangle star oval cube cone sphere hexagon line",
    "metals": "iron gold silver copper tin zinc lead nickel steel brass",
    "insects": "bee ant moth fly beetle wasp cricket mosquito termite butterfly",
}
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven"}
ASK_LIST = (
    "List {} {}.", "List {} {}.", "List {} {}", "Name {} {}.", "Give me {} {}.", "Write a list of {} {}.", "Show me {} {}.",
    "I need {} {}.", "Can you list {} {}?", "Give me a list of {} {}.", "Please name {} {}.", "Write {} {}.", "{} {}",
    "Make a list of {} {}.", "Tell me the names of {} {}.", "I want {} {}.", "Please list {} {}.", "Which {} {} do you know?",
)  # fmt: skip
HELD_OUT_ASK_LIST = ("Tell me {} {}.", "Make a list with {} {}.")
STYLES = {
    "bullets": ("", "", "", " as bullet points", " as a Markdown list", " with bullets"),
    "numbers": (" as a numbered list", " and number them", " numbered"),
    "commas": (" on one line", " separated by commas", " in one line"),
}


def list_request(kind: str, count: int, style: str, rng: random.Random, held_out: bool = False) -> str:
    """A request for ``count`` things of a kind; ``held_out`` draws a wording that training never sees."""
    form = rng.choice(HELD_OUT_ASK_LIST if held_out else ASK_LIST)
    number = NUMBERS[count] if rng.random() < 0.75 else str(count)
    end = form[-1] if form[-1] in ".?" else ""
    return form.removesuffix(end).format(number, kind) + rng.choice(STYLES[style]) + end


def write_list(kind: str, count: int, style: str, rng: random.Random) -> str:
    """``count`` distinct things of a kind."""
    chosen = rng.sample(KINDS[kind].split(), count)
    if style == "commas":
        return ", ".join(chosen)
    marks = (f"{i}. " if style == "numbers" else "- " for i in range(1, count + 1))
    return "\n".join(mark + item for mark, item in zip(marks, chosen, strict=True))


def draw_list(rng: random.Random) -> tuple[str, int, str]:
    """A kind, a count and a style for a list."""
    kind = rng.choice(list(KINDS))
    most = min(7, len(KINDS[kind].split()))
    return (
        kind,
        rng.choice([n for n in (2, 3, 3, 3, 4, 5, 5, 6, 7) if n <= most]),
        rng.choice(("bullets", "bullets", "bullets", "numbers", "commas")),
    )


@dataclass(frozen=True)
class Key:
    """A JSON key and the values that it can have."""

    name: str
    choices: tuple[object, ...]


def _range(low: int, high: int) -> tuple[object, ...]:
    return tuple(range(low, high))


KEYS = (
    Key("name", ("Mira", "Tom", "Ana", "Leo", "Ida", "Max", "Eva", "Sam")),
    Key("age", _range(18, 80)),
    Key("city", ("Paris", "Tokyo", "London", "Rome", "Oslo", "Cairo", "Lima")),
    Key("country", ("France", "Japan", "Brazil", "Norway", "Kenya", "Canada")),
    Key("email", ("mira@example.org", "tom@example.org", "ana@example.org", "leo@example.org")),
    Key("title", ("The Sea", "Winter", "Old Roads", "Night Train", "The Garden")),
    Key("author", ("Ida Moon", "Leo Frost", "Ana Rivers", "Sam Stone")),
    Key("year", _range(1950, 2026)),
    Key("price", (4.5, 9.99, 12.5, 19.9, 25.0, 3.2, 7.75)),
    Key("color", ("red", "blue", "green", "yellow", "black", "white")),
    Key("size", ("small", "medium", "large")),
    Key("temperature", _range(-5, 35)),
    Key("score", _range(0, 101)),
    Key("active", (True, False)),
    Key("tags", (["new", "red"], ["old"], ["tea", "hot"], ["ice", "cold"], ["a", "b"])),
    Key("animal", ("cat", "dog", "owl", "fox", "bear", "whale")),
    Key("fruit", ("apple", "pear", "plum", "mango", "lemon")),
    Key("quantity", _range(1, 20)),
    Key("weather", ("rain", "snow", "sun", "fog", "wind")),
    Key("language", ("Python", "Rust", "Java", "Go")),
)
KEY = {key.name: key for key in KEYS}
THINGS = {
    "a person": ("name", "age", "city"),
    "a book": ("title", "author", "year"),
    "a product": ("name", "price", "color"),
    "the weather": ("city", "temperature", "weather"),
    "an order": ("fruit", "quantity", "price"),
    "a user": ("name", "email", "active"),
    "a pet": ("name", "animal", "age"),
}
ASK_JSON = (
    "Give me a JSON object with {}.", "Give me a JSON object with {}.", "Write a JSON object with {}.", "Return JSON with {}.",
    "Make a JSON object that has {}.", "I need JSON with {}.", "JSON with {}", "Create a small JSON object with {}.",
    "Give me JSON with the keys {}.", "Answer in JSON with {}.",
)  # fmt: skip
HELD_OUT_ASK_JSON = ("Please produce a JSON object holding {}.", "Show JSON containing {}.")
ASK_THING = (
    "Give me a JSON object for {}.",
    "Describe {} as JSON.",
    "Write {} as a JSON object.",
    "JSON for {}",
    "Invent {} in JSON.",
)


def json_request(keys: tuple[str, ...], rng: random.Random, held_out: bool = False) -> str:
    """A request for an object with these keys; ``held_out`` draws a wording that training never sees."""
    *first, last = (f'"{key}"' for key in keys) if rng.random() < 0.15 else keys
    joined = f"{', '.join(first)} and {last}" if first else str(last)
    return rng.choice(HELD_OUT_ASK_JSON if held_out else ASK_JSON).format(joined)


def write_json(keys: tuple[str, ...], rng: random.Random) -> str:
    """One object on one line, its values drawn anew."""
    return json.dumps({key: rng.choice(KEY[key].choices) for key in keys})


def draw_keys(rng: random.Random) -> tuple[str, ...]:
    """One to four keys for an object."""
    return tuple(rng.sample(list(KEY), rng.choice((1, 2, 2, 3, 3, 4))))


ASK_COUNT = (
    "Count to {}.",
    "Count to {}",
    "Count from 1 to {}.",
    "Please count to {}.",
    "Write the numbers from 1 to {}.",
)


WRITTEN = {3: "three", 5: "five", 10: "ten", 20: "twenty", 30: "thirty", 50: "fifty", 100: "one hundred"}


def count_request(last: int, rng: random.Random) -> str:
    """A request to count to ``last``, the number in figures or in words."""
    return rng.choice(ASK_COUNT).format(WRITTEN.get(last, last) if rng.random() < 0.4 else last)


def write_count(last: int) -> str:
    """The numbers from 1 to ``last``: the one long answer, for those who want to watch or stop it."""
    return ", ".join(str(number) for number in range(1, last + 1))
