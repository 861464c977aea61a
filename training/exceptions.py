"""Python's exceptions explained by name, and cells that fail with the cell that mends them (``%phi_fix``)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from training.functions import fenced

MEANING: dict[str, tuple[str, ...]] = {
    "NameError": ("a name is used that was never defined", "the code uses a name that does not exist"),
    "TypeError": ("a value has a type that the operation cannot use", "an operation gets a value of the wrong type"),
    "ValueError": ("a value has the right type but is not acceptable", "a function gets a value that it cannot use"),
    "KeyError": ("a dictionary has no such key", "a key is looked up that the dictionary does not hold"),
    "IndexError": ("an index lies outside the list", "a list is shorter than the index needs"),
    "AttributeError": ("an object has no such attribute", "an attribute or method is used that the object lacks"),
    "ZeroDivisionError": ("a number is divided by zero", "the divisor is zero"),
    "ImportError": ("a name cannot be imported from its module", "an import fails"),
    "ModuleNotFoundError": ("a module is imported that is not installed", "Python cannot find the module"),
    "FileNotFoundError": ("a file is opened that does not exist", "there is no file at this path"),
    "PermissionError": ("the system does not allow the access", "you may not read or write this file"),
    "SyntaxError": ("the code breaks the grammar of Python", "Python cannot parse the code"),
    "IndentationError": ("the lines are not indented as they must be", "the indentation is wrong"),
    "RecursionError": ("a function calls itself too often", "the recursion never reaches its end"),
    "StopIteration": ("an iterator has no more items", "next is called on an iterator that is used up"),
    "OverflowError": ("a number is too large to be represented", "the result of a computation is too large"),
    "MemoryError": ("there is not enough memory", "the memory is used up"),
    "AssertionError": ("an assert statement is false", "an assertion does not hold"),
    "KeyboardInterrupt": ("the user stops the program", "someone presses Ctrl-C"),
    "UnboundLocalError": ("a local variable is read before it has a value", "a local name is used before it is set"),
    "UnicodeDecodeError": ("bytes are not valid text in this encoding", "a file has another encoding than expected"),
    "TimeoutError": ("an operation takes too long", "no answer comes in time"),
    "ConnectionError": ("a connection fails or is lost", "the other side cannot be reached"),
    "NotImplementedError": ("a method was left to be written by a subclass", "this part is not written yet"),
    "OSError": ("the operating system reports an error", "a system call fails"),
    "RuntimeError": ("an error happens that fits no other class", "something fails while the program runs"),
}
HINT = {
    "NameError": "Check the spelling, or define it first.",
    "TypeError": "Convert the value first.",
    "ValueError": "Check the value before you use it.",
    "KeyError": "Use .get() or check the key first.",
    "IndexError": "Check the length first.",
    "AttributeError": "Check the spelling and the type.",
    "ZeroDivisionError": "Check the divisor first.",
    "ModuleNotFoundError": "Install it with pip.",
    "FileNotFoundError": "Check the path.",
    "SyntaxError": "Look for a missing colon, bracket or quote.",
    "IndentationError": "Use four spaces for each level.",
    "RecursionError": "Give the recursion an end.",
}
ASK = (
    "What is a {}?", "What is a {}?", "Explain {}.", "What does {} mean?", "Why do I get a {}?", "What causes a {}?",
    "Explain the exception {}.", "When does Python raise {}?", "{}?", "I got a {}. What does it mean?", "What is {}?",
    "Tell me about {}.", "My code raised a {}.", "Help, {}!", "Why does Python raise {}?", "What went wrong? I see a {}.",
    "I see a {}.", "What is wrong when I get a {}?", "Please explain {}.", "Why {}?", "What is the reason for a {}?", "{}",
    "Python raised a {}.", "How does a {} come about?", "Describe {}.", "Define {}.",
)  # fmt: skip
HELD_OUT_ASK = ("Python says {}. Why?", "What went wrong when I see a {}?")
LEAD = ("A {} means that {}.", "Python raises {} when {}.", "{} is raised when {}.", "You get a {} when {}.")


def ask(name: str, rng: random.Random, held_out: bool = False) -> str:
    """A question about the exception ``name``; ``held_out`` draws a wording that training never sees."""
    return _article(rng.choice(HELD_OUT_ASK if held_out else ASK).format(name))


def explain(name: str, rng: random.Random) -> str:
    """One or two sentences that say what the exception means."""
    sentence = _article(rng.choice(LEAD).format(name, rng.choice(MEANING[name])))
    return f"{sentence} {HINT[name]}" if name in HINT and rng.random() < 0.5 else sentence


def _article(text: str) -> str:
    for wrong, right in (("A ", "An "), ("a ", "an ")):
        for vowel in "AIOU":
            text = text.replace(f"{wrong}{vowel}", f"{right}{vowel}")
    return text.replace("an Unicode", "a Unicode").replace("An Unicode", "A Unicode")


FIX = (
    "This Python cell failed.\n\n```python\n{cell}\n```\n\n```\n{error}\n```\n\n"
    "Explain the error in one sentence, then give the corrected cell in one Python block."
)
NAMES = (
    "total count result price value score name data items numbers words text line width height size limit index step "
    "speed table values first second amount rate city user message answer length average area left right start end "
    "color title rows mean weight level points days hours temperature token prompt model x y a b n"
).split()  # fmt: skip
LISTS = ("numbers", "items", "values", "words", "data", "scores", "rows", "prices", "points", "names")
KEYS = ("name", "age", "city", "price", "title", "color", "size", "email", "score", "year")
WORDS = ("red", "blue", "Mira", "Tom", "Oslo", "Rome", "tea", "ice", "sun", "hello", "moon", "fox", "snow", "rain")
MODULES = {
    "math": ("math.sqrt({n})", "math.pi * {n}", "math.floor({n}.5)", "math.log({n})"),
    "random": ("random.randint(1, {n})", "random.choice([1, {n}])", "random.random() * {n}"),
    "json": ('json.dumps({{"a": {n}}})', "json.dumps([{n}])"),
    "time": ("time.time()", "time.sleep({n})"),
    "os": ("os.getcwd()", "os.listdir()"),
    "datetime": ("datetime.date.today()", "datetime.datetime.now()"),
    "re": ('re.findall("a+", "banana")', 're.split(",", "a,b")'),
}


@dataclass(frozen=True)
class Failure:
    """A cell, the error it ends with, one sentence that explains it, and the cell that works."""

    cell: str
    error: str
    sentence: str
    fixed: str

    @property
    def prompt(self) -> str:
        return FIX.format(cell=self.cell, error=self.error)

    @property
    def answer(self) -> str:
        return f"{self.sentence}\n\n{fenced(self.fixed)}"


def _typo(name: str, rng: random.Random) -> str:
    """``name`` with one letter dropped, doubled or two exchanged; never ``name`` itself."""
    if len(name) < 3:
        return name + rng.choice("sx")
    at = rng.randrange(1, len(name) - 1)
    swapped = name[:at] + name[at + 1] + name[at] + name[at + 2 :]
    wrong = rng.choice((name[:at] + name[at + 1 :], name[:at] + name[at] + name[at:], swapped))
    return wrong if wrong != name else name[:-1]


def _assignment(name: str, rng: random.Random) -> str:
    return f"{name} = {rng.choice((str(rng.randrange(100)), repr_list(rng), quoted(rng)))}"


def quoted(rng: random.Random) -> str:
    return f'"{rng.choice(WORDS)}"'


def repr_list(rng: random.Random) -> str:
    return str([rng.randrange(20) for _ in range(rng.randint(2, 4))])


def _use(name: str, rng: random.Random) -> str:
    return rng.choice((f"print({name})", f"print({name})", f"{rng.choice(NAMES[:20])}2 = {name}", f"len({name})", name))


def misspelt(rng: random.Random) -> Failure:
    name = rng.choice([n for n in NAMES if len(n) > 3])
    wrong = _typo(name, rng)
    lines = [_assignment(name, rng)]
    if rng.random() < 0.4:
        lines.append(_assignment(rng.choice([n for n in NAMES if n != name]), rng))
    use = _use(name, rng)
    sentence = rng.choice(
        (f"The name {wrong} is misspelt: it must be {name}.", f"{wrong} is not defined; the name is {name}.")
    )
    error = f"NameError: name '{wrong}' is not defined"
    if rng.random() < 0.4:
        error += f". Did you mean: '{name}'?"
    return Failure("\n".join([*lines, use.replace(name, wrong)]), error, sentence, "\n".join([*lines, use]))


def misspelt_builtin(rng: random.Random) -> Failure:
    name, function = rng.choice(NAMES), rng.choice(("print", "print", "len", "range", "sorted", "input", "round"))
    wrong = _typo(function, rng)
    head = f"{_assignment(name, rng)}\n" if rng.random() < 0.6 else ""
    argument = name if head else quoted(rng)
    error = f"NameError: name '{wrong}' is not defined"
    if rng.random() < 0.4:
        error += f". Did you mean: '{function}'?"
    sentence = f"The name {wrong} is misspelt: it must be {function}."
    return Failure(f"{head}{wrong}({argument})", error, sentence, f"{head}{function}({argument})")


def undefined(rng: random.Random) -> Failure:
    name = rng.choice(NAMES)
    use = rng.choice((f"print({name})", f"{name} + 1", f"print({name} * 2)", f"{name} += 1"))
    sentence = f"The name {name} is not defined, so give it a value first."
    return Failure(use, f"NameError: name '{name}' is not defined", sentence, f"{name} = 0\n{use}")


def missing_import(rng: random.Random) -> Failure:
    module = rng.choice(list(MODULES))
    call = rng.choice(MODULES[module]).format(n=rng.randint(2, 99))
    body = rng.choice((f"print({call})", f"{rng.choice(NAMES)} = {call}", call))
    sentence = rng.choice((f"The module {module} is used but was not imported.", f"The import of {module} is missing."))
    error = f"NameError: name '{module}' is not defined"
    if rng.random() < 0.4:
        error += f". Did you forget to import '{module}'?"
    return Failure(body, error, sentence, f"import {module}\n{body}")


def missing_colon(rng: random.Random) -> Failure:
    name, items = rng.choice(NAMES), rng.choice(LISTS)
    head = rng.choice(
        (
            f"for {name} in range({rng.randint(2, 20)})", f"if {name} > {rng.randrange(20)}", f"def {name}()",
            f"while {name} < {rng.randint(2, 20)}", f"for {name} in {items}", f"def {name}({items})",
        )
    )  # fmt: skip
    body = rng.choice((f"print({name})", f"print({rng.randrange(100)})", f"print({quoted(rng)})"))
    before = [f"{name} = {rng.randrange(20)}"] if head.startswith(("if", "while")) else []
    cell, fixed = ("\n".join([*before, f"{head}{colon}", f"    {body}"]) for colon in ("", ":"))
    sentence = f"The colon after the {head.split()[0]} line is missing."
    return Failure(cell, "SyntaxError: expected ':'", sentence, fixed)


def missing_bracket(rng: random.Random) -> Failure:
    inner = rng.choice((quoted(rng), rng.choice(NAMES), str(rng.randrange(100))))
    before = [f"{inner} = {rng.randrange(100)}"] if inner.isidentifier() else []
    cell, fixed = ("\n".join([*before, f"print({inner}{end}"]) for end in ("", ")"))
    return Failure(
        cell, "SyntaxError: '(' was never closed", "The closing bracket of the print call is missing.", fixed
    )


def missing_quote(rng: random.Random) -> Failure:
    word, name = rng.choice(WORDS), rng.choice(NAMES)
    form = rng.choice(("print({})", f"{name} = {{}}"))
    error = "SyntaxError: unterminated string literal (detected at line 1)"
    return Failure(
        form.format(f'"{word}'), error, "The closing quote of the string is missing.", form.format(f'"{word}"')
    )


def text_plus_number(rng: random.Random) -> Failure:
    name, number = rng.choice(NAMES), rng.randrange(100)
    label = rng.choice(WORDS)
    cell = f'{name} = {number}\nprint("{label}: " + {name})'
    fixed = f'{name} = {number}\nprint("{label}: " + str({name}))'
    sentence = f"A string and a number cannot be added, so {name} must become a string."
    return Failure(cell, 'TypeError: can only concatenate str (not "int") to str', sentence, fixed)


def number_plus_text(rng: random.Random) -> Failure:
    name, number, other = rng.choice(NAMES), rng.randrange(100), rng.randrange(100)
    cell = f'{name} = "{number}"\nprint({name} + {other})'
    fixed = f'{name} = "{number}"\nprint(int({name}) + {other})'
    sentence = f"A string and a number cannot be added, so {name} must become an integer."
    return Failure(cell, 'TypeError: can only concatenate str (not "int") to str', sentence, fixed)


def zero_division(rng: random.Random) -> Failure:
    top, bottom = rng.sample(NAMES, 2)
    number = rng.randrange(1, 100)
    head = f"{top} = {number}\n{bottom} = 0\n"
    fixed = f"{head}print({top} / {bottom} if {bottom} else 0)"
    sentence = rng.choice(
        (f"{bottom} is zero, and one cannot divide by zero.", "The divisor is zero, so guard the division.")
    )
    return Failure(f"{head}print({top} / {bottom})", "ZeroDivisionError: division by zero", sentence, fixed)


def index_too_large(rng: random.Random) -> Failure:
    name = rng.choice(LISTS)
    values = [rng.randrange(20) for _ in range(rng.randint(2, 4))]
    cell = f"{name} = {values}\nprint({name}[{len(values) + rng.choice((0, 0, 1, 3))}])"
    sentence = f"The list {name} has only {len(values)} items, so take the last one with -1."
    return Failure(cell, "IndexError: list index out of range", sentence, f"{name} = {values}\nprint({name}[-1])")


def missing_key(rng: random.Random) -> Failure:
    name = rng.choice(NAMES)
    there, asked = rng.sample(KEYS, 2)
    head = f'{name} = {{"{there}": {rng.choice((quoted(rng), str(rng.randrange(100))))}}}\n'
    sentence = f'The dictionary has no key "{asked}", so use get.'
    fixed = f'{head}print({name}.get("{asked}"))'
    return Failure(f'{head}print({name}["{asked}"])', f"KeyError: '{asked}'", sentence, fixed)


def bad_indent(rng: random.Random) -> Failure:
    name = rng.choice(NAMES)
    head = rng.choice((f"for {name} in range({rng.randint(2, 20)}):", f"def {name}():", "if True:"))
    body = rng.choice((f"print({quoted(rng)})", f"print({rng.randrange(100)})", "pass"))
    kind = {"for": "'for' statement", "def": "function definition", "if ": "'if' statement"}[head[:3]]
    error = f"IndentationError: expected an indented block after {kind} on line 1"
    return Failure(f"{head}\n{body}", error, "The body of the block must be indented.", f"{head}\n    {body}")


FAILURES: tuple[Callable[[random.Random], Failure], ...] = (
    misspelt, misspelt, misspelt_builtin, undefined, missing_import, missing_colon, missing_bracket, missing_quote, text_plus_number,
    number_plus_text, zero_division, index_too_large, missing_key, bad_indent,
)  # fmt: skip


def failure(rng: random.Random) -> Failure:
    """A failing cell of a random kind."""
    return rng.choice(FAILURES)(rng)
