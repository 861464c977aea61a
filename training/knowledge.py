"""Questions with one-sentence answers, and questions that the model must say it cannot answer."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ABOUT = (
    "What is {}?", "What is {}?", "What is {}?", "Explain {}.", "Explain {}.", "What does {} mean?", "Tell me what {} is.",
    "Define {}.", "Can you explain {}?", "What is meant by {}?", "Please explain {} in one sentence.", "{}?", "{}",
    "Tell me about {}.", "Please define {}.", "Explain {} to me.", "Give me a definition of {}.", "A definition of {}, please.",
    "I do not understand {}.", "Help me understand {}.", "I want to know what {} is.", "Say in one sentence what {} is.",
    "How would you explain {}?", "Short answer: what is {}?", "Describe {}.", "What do you know about {}?",
    "I would like to learn what {} is.", "What is {} in simple words?", "Do you know what {} is?", "Remind me what {} is.",
)  # fmt: skip
ABOUT_MANY = (
    "What are {}?", "What are {}?", "Explain {}.", "How do {} work?", "Tell me about {}.", "Describe {}.", "{}?", "{}",
    "Help me understand {}.", "Give me a definition of {}.", "What do you know about {}?", "Please explain {}.",
)  # fmt: skip
HELD_OUT_ABOUT = ("Explain to me what {} is.", "I want to understand {}.", "Give a short definition of {}.")

UNKNOWN_THINGS = """France; Japan; Brazil; Rome; Paris; London; Berlin; Mars; Jupiter; gold; silver; oxygen; carbon; gravity;
electricity; the French Revolution; the Roman Empire; the Second World War; the stock market; inflation; taxes; interest rates;
bitcoin; democracy; philosophy; Plato; Einstein; Newton; Mozart; Shakespeare; Napoleon; Cleopatra; quantum mechanics; relativity;
photosynthesis; evolution; the human heart; the brain; DNA; viruses; vitamins; the weather today; the news; tomorrow's weather;
football results; the election; the president; the king of Spain; my boss; my neighbour; my taxes; the meaning of life; happiness;
the best restaurant; a good film; the Eiffel Tower; the Great Wall; the Nile; Mount Everest; Antarctica; dinosaurs; elephants;
sharks; kangaroos; a black hole; the speed of light; the Big Bang; nuclear power; solar panels; electric cars; a diesel engine;
the Bible; Greek myths; Vikings; knights; pyramids; the Olympic games; cricket rules; poker; golf; surfing; yoga; meditation;
headaches; a cold; insurance; mortgages; contracts; the law; patents; marketing; economics; accounting; Kubernetes; Java; Rust;
Haskell; SQL joins; React; blockchain; 5G; microchips; batteries; lasers; glass; concrete; paper money; chocolate; cheese; wine;
olive oil; pizza dough; lasagna; tulip prices; bananas in Norway; the moon landing; Apollo 11; the Titanic; the Beatles; opera;
jazz history; ballet shoes; fashion; perfume; shampoo; a haircut; my garden shed; a broken washing machine; a flat tyre;
the nearest airport; flights to Madrid; hotels in Vienna; visas; passports; the capital of Peru; the capital of France;
the population of China; the height of the Eiffel Tower; the longest river; the largest country; the deepest ocean; Latin;
German grammar; French verbs; Chinese characters; Arabic; poetry of the Renaissance; abstract art; Picasso; Rembrandt; sculpture;
statistics; calculus; topology; the Riemann hypothesis; prime gaps; chess openings; the Sicilian defence; sudoku; crosswords;
dragons; unicorns; pirates; zombies; vampires; ghosts; wizards; lawyers; doctors; nurses; politics; soldiers; tanks; guns; money;
diamonds; rubies; emeralds; jealousy; anger; courage; freedom; justice; truth; lies; luck; magic; religion; angels; demons;
tigers; lions; giraffes; zebras; monkeys; crocodiles; snakes; parrots; octopus; lobsters; oysters; goldfish; hamsters; cows; pigs;
goats; sheepdogs; ducks; geese; turkeys; pizza; burgers; sushi; tacos; curry; cake shops; ice cream vans; beer; whisky; vodka;
lemons; bananas; grapes; potatoes; tomatoes; elevators; skyscrapers; motorways; tractors; helicopters; submarines; balloons;
telephones; television; radio; cameras; the cinema; actors; theatre; circus clowns; puppets; dolls; toys; video games; dice;
cards; roulette; boxing; karate; judo; rugby; volleyball; badminton; rowing; archery; skateboards; hockey sticks in Peru; horse racing;
boots; hats; gloves; jewellery; watches; tattoos; beards; teeth; dentists; hospitals; prisons; castles; temples; mosques; cathedrals;
Tokyo; New York; Moscow; Cairo; Sydney; Texas; Ireland; Africa; Asia; the Moon base; Saturn; aliens; time travel; the apocalypse"""

UNKNOWN_ASK = (
    "What is {}?", "Tell me about {}.", "Explain {}.", "Who invented {}?", "How does {} work?", "Why is {} important?",
    "Write an essay about {}.", "What do you know about {}?", "When did {} begin?", "How much is {}?", "Where is {}?",
    "Write an email about {}.", "Give me advice about {}.", "What do you think of {}?", "Is {} good?", "Summarise {}.",
    "Who knows more about {}, you or me?", "What happened to {}?", "How do I learn about {}?", "Write a story about {}.",
    "Compare {} and {}.", "What is the difference between {} and {}?", "Translate {} into French.", "How old is {}?",
    "Should I buy {}?", "Make a plan for {}.", "Give me three facts about {}.", "What is the price of {}?",
)  # fmt: skip
HELD_OUT_UNKNOWN_ASK = ("What can you say about {}?", "I need to know more about {}.", "Teach me about {}.")
UNKNOWN_WHOLE = """Who won the World Cup in 1998?; What time is it?; What day is it today?; What is the weather like?;
How old am I?; What is my name?; Where do I live?; Who is the president?; What is 17 times 23?; What is 2 + 2?; Solve x + 3 = 7.;
How far is the moon?; What is the meaning of life?; Tell me a joke.; Translate good morning into French.; Sing me a song.;
Book me a flight.; Open the door.; Play some music.; Draw a cat.; What should I eat tonight?; Write my homework.;
How many people live in Japan?; What is the square root of 144?; Who wrote Hamlet?; When was Rome founded?; Send an email to Bob.;
What is the tallest building?; Which team is the best?; Will it rain tomorrow?; Can you see this picture?; Search the web for news.;
What is the best phone?; How do I fix my car?; Am I ill?; Should I sell my house?; What did I say yesterday?; Who is my mother?"""
UNKNOWN_ANSWERS = (
    "I am a tiny demo model and do not know that.",
    "I do not know that: I am only a tiny demo model.",
    "Sorry, I am a tiny demo model and do not know that.",
    "I do not know. I am a tiny demo model; ask me for a haiku instead.",
    "That is beyond me, for I am only a tiny demo model.",
    "I am too small to know that. Try a haiku, a list or a short Python function.",
)
UNKNOWN_TOPIC_ANSWERS = (
    "I am a tiny demo model and do not know that topic. Try {} or {}.",
    "I have no words for that topic. Ask me for a haiku about {}.",
    "Sorry, that topic is not one of mine. Shall I write about {}?",
    "That topic is beyond a tiny demo model. How about {} or {}?",
)


@dataclass(frozen=True)
class Fact:
    """Something the model knows: the questions that ask for it, or the names it goes by, and its answers."""

    questions: tuple[str, ...]
    names: tuple[str, ...]
    answers: tuple[str, ...]

    def ask(self, rng: random.Random, held_out: bool = False) -> str:
        """A question that this fact answers; ``held_out`` draws a wording that training never sees."""
        if self.questions:
            return rng.choice(self.questions)
        name = rng.choice(self.names)
        plural = bool(re.search(r"[a-z]s$", name)) and not name.startswith(("a ", "an ", "the ", "pandas"))
        form = rng.choice(HELD_OUT_ABOUT if held_out else ABOUT_MANY if plural else ABOUT)
        question = form.format(name)
        return question[0].upper() + question[1:] if question[0].islower() else question


@lru_cache(maxsize=1)
def facts() -> tuple[Fact, ...]:
    """All facts of ``knowledge.txt``, in its order."""
    found = []
    text = Path(__file__).with_name("knowledge.txt").read_text(encoding="utf-8")
    for block in re.split(r"\n\s*\n", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip()):
        head, *answers = block.splitlines()
        kind, names = head.split(": ", 1)
        parts = tuple(part.strip() for part in names.split("|"))
        found.append(Fact(parts if kind == "ask" else (), parts if kind == "about" else (), tuple(answers)))
    return tuple(found)


def _items(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(";"))


@lru_cache(maxsize=1)
def unknown_things() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Subjects that the model does not know: those that training names, and those kept for the evaluation."""
    things = _items(UNKNOWN_THINGS)
    return tuple(t for i, t in enumerate(things) if i % 8 != 7), things[7::8]


def unknown_question(rng: random.Random, held_out: bool = False) -> str:
    """A question about something that the model does not know."""
    if not held_out and rng.random() < 0.25:
        return rng.choice(_items(UNKNOWN_WHOLE))
    things = unknown_things()[held_out]
    form = rng.choice(HELD_OUT_UNKNOWN_ASK if held_out else UNKNOWN_ASK)
    return form.format(*rng.sample(things, 2))
