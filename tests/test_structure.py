"""--schema: an answer that parses and validates, whatever the schema, unless it was cut; and then it says so."""

import datetime as dt
import enum
import json
import os
import signal
import uuid
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from functools import reduce
from pathlib import Path
from typing import Literal

import jsonschema
import pydantic
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError

from phi_magic import Phi, PhiError
from phi_magic.__main__ import main
from phi_magic.generation.stream import Question
from phi_magic.recorded import Recorded
from phi_magic.replay import replay
from phi_magic.schema.structure import Structure, read
from tests.fake_backend import FakeBackend

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


class Mood(enum.Enum):
    CALM = "calm"
    WILD = "wild"


@dataclass
class Place:
    name: Literal["sea", "river"]
    depth: float


@dataclass
class Poem:
    mood: Mood
    place: Place
    syllables: tuple[Literal[5, 7], ...]
    rhymes: bool | None
    tags: dict[str, int] = field(default_factory=dict)


@pytest.fixture
def phi():
    return Phi(model="demo", max_tokens=200)


SCHEMAS = [
    {"type": "string"},
    {"type": "string", "format": "date"},
    {"type": "number", "exclusiveMinimum": 0},
    {"type": "null"},
    {"enum": ["ice", 5]},
    PERSON,
    {"type": "object", "patternProperties": {"^n": {"type": "null"}}},
    {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 5}]},
]


class TestAnswers:
    @pytest.mark.parametrize("temperature", [0, 0.8, 3])
    @pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: str(schema)[:40])
    def test_an_answer_validates_unless_it_was_cut(self, phi, schema, temperature):
        for seed in range(2):
            reply = phi("Describe someone", schema=schema, temperature=temperature, seed=seed, max_tokens=60)
            if reply.finish_reason == "stop":
                jsonschema.validate(json.loads(reply.text), schema)
                assert reply.data == json.loads(reply.text)
            else:
                assert reply.finish_reason == "length"
                assert reply.error.startswith("cut at -n") or reply.data is not None

    def test_the_object_of_a_dict_is_a_dict(self, phi):
        reply = phi("Describe someone", schema=PERSON, seed=1)
        assert list(reply.data) == ["name", "age"]
        assert reply.error == ""

    def test_the_object_of_a_dataclass_is_one(self, phi):
        @dataclass
        class Verse:
            mood: Mood
            syllables: Literal[5, 7]

        reply = phi("Write a verse", schema=Verse, seed=1)
        assert isinstance(reply.data, Verse)
        assert isinstance(reply.data.mood, Mood)
        assert json.loads(json.dumps(reply.to_dict()))["data"] == json.loads(reply.text)

    def test_what_is_in_a_dataclass_is_made_too(self):
        text = '{"mood": "wild", "place": {"name": "sea", "depth": 3}, "syllables": [5, 7], "rhymes": null}'
        made = read(Poem).parse(text)
        assert made == Poem(Mood.WILD, Place("sea", 3.0), (5, 7), None, {})
        assert isinstance(made.place.depth, float)
        jsonschema.validate(json.loads(text), json.loads(read(Poem).text))

    def test_the_object_of_a_pydantic_model_is_one(self, phi):
        class Cat(pydantic.BaseModel):
            kind: Literal["cat"]
            lives: int = pydantic.Field(ge=1, le=9)

        class Dog(pydantic.BaseModel):
            kind: Literal["dog"]

        class Pets(pydantic.BaseModel):
            first: Cat | Dog = pydantic.Field(discriminator="kind")
            count: Literal[1, 2]

        reply = phi("Describe a pet", schema=Pets, seed=1)
        assert isinstance(reply.data, Pets)
        assert reply.to_dict()["data"] == json.loads(reply.text)

    def test_what_a_pydantic_model_refuses_in_the_end_is_said(self, phi):
        class Even(pydantic.BaseModel):
            number: Literal[1, 3]

            @pydantic.field_validator("number")
            @classmethod
            def even(cls, number):
                raise ValueError("odd")

        reply = phi("A number", schema=Even, seed=1)
        assert reply.data is None
        assert reply.error.startswith("Even refuses the answer: number: ")

    def test_a_path_and_text(self, phi):
        Path("person.json").write_text(json.dumps(PERSON))
        answers = [phi("Someone", schema=schema, seed=3).text for schema in (PERSON, "person.json", json.dumps(PERSON))]
        assert len(set(answers)) == 1

    def test_an_answer_that_was_cut_says_so(self, phi):
        reply = phi("Someone", schema=PERSON, max_tokens=3)
        assert (reply.data, reply.finish_reason) == (None, "length")
        assert reply.error == "cut at -n 3, before the object was whole: raise -n (default 512)"

    def test_what_it_begins_with_must_follow_the_schema(self, phi):
        with pytest.raises(PhiError, match="does not follow the schema"):
            phi("Someone", schema={"type": "integer"}, begin=[300])

    def test_replay_gives_it_again_also_from_a_notebook_that_sorts(self, phi):
        reply = phi("A poem", schema=Poem, seed=4)
        record = json.loads(json.dumps(reply.to_dict(), sort_keys=True))
        assert replay(Phi(), Recorded("here", record, reply.text)).same

    def test_many_at_once_are_each_held_to_it(self, phi):
        for reply in phi.map(["Someone", "Another"], schema=PERSON, progress=False, seed=2):
            assert reply.data is None or list(reply.data) == ["name", "age"]
            assert replay(Phi(), Recorded.of(reply, "here")).same

    @pytest.mark.parametrize(
        ("schema", "says"),
        [
            (5, "not a int"),
            (True, "not a bool"),
            (str, "not a type"),
            ("nope.json", "cannot be read"),
            ({"a": {1, 2}}, "not JSON"),
            ({"const": float("nan")}, "not JSON"),
            (reduce(lambda inner, _: {"items": inner}, range(50_000), {}), "nested too deep"),
        ],
        ids=lambda case: str(type(case)),
    )
    def test_what_is_no_schema_is_refused(self, phi, schema, says):
        with pytest.raises(PhiError, match=says):
            phi("x", schema=schema)

    def test_a_field_that_json_has_no_form_for_is_named(self, phi):
        @dataclass
        class Odd:
            call: Callable[[int], int]

        with pytest.raises(PhiError, match=r"Odd has no JSON schema: .*Callable"):
            phi("x", schema=Odd)

    def test_a_class_has_fields_of_a_format_that_no_grammar_knows(self, phi):
        @dataclass
        class File:
            path: Path
            content: bytes

        assert phi("A file", schema=File, max_tokens=3).text
        assert read(File).parse('{"path": "a.txt", "content": "b"}') == File(Path("a.txt"), b"b")

    def test_an_answer_is_shown_and_recorded_though_its_class_cannot_be_written(self, phi):
        class Closed(pydantic.BaseModel):
            number: Literal[1, 3]

            @pydantic.field_serializer("number")
            def written(self, number):
                raise RuntimeError("no")

        reply = phi("A number", schema=Closed, seed=1)
        assert isinstance(reply.data, Closed)
        record = reply.to_dict()
        assert (record["text"], record["data"]) == (reply.text, None)

    def test_a_number_too_large_for_a_field_is_none_in_the_record(self, phi):
        @dataclass
        class Large:
            number: float

        reply = phi("A number", max_tokens=1)
        reply.data = Large(float("inf"))  # what pydantic makes of an integer of 400 digits
        assert json.loads(json.dumps(reply.to_dict(), allow_nan=False))["data"] == {"number": None}

    def test_an_interrupt_ends_a_validator_and_the_answer_stays(self, phi):
        after = []

        @dataclass
        class Endless:
            number: Literal[1, 3]

            def __post_init__(self):
                signal.raise_signal(signal.SIGINT)
                after.append("went on")

        stream = phi.stream("A number", schema=Endless, seed=1)
        with pytest.raises(KeyboardInterrupt):
            stream.run()
        assert (after, stream.reply.finish_reason) == ([], "stop")
        assert json.loads(stream.reply.text)["number"] in (1, 3)

    def test_one_row_without_an_object_does_not_end_a_map(self, phi):
        @dataclass
        class Picky:
            name: str

            def __post_init__(self):
                if "a" in self.name:
                    raise RuntimeError("an a")

        replies = phi.map(["One", "Two", "Three", "Four"], schema=Picky, max_tokens=60, progress=False, seed=5)
        assert len(replies) == 4
        for reply in replies:
            assert (reply.data is None) == bool(reply.error)
        asked = Question(replies[0], replies[0], Structure(read(Picky).text, Picky))
        asked.reply.data, asked.reply.text, asked.reply.finish_reason = None, '{"name": "Ada"}', "stop"
        asked.parse()
        assert asked.reply.error == "Picky refuses the answer: RuntimeError: an a"


class Colour(enum.Enum):
    RED = (1, 0, 0)
    BLUE = (0, 0, 1)


class TestObjects:
    """What becomes of an answer's text, without a model."""

    def test_a_strict_pydantic_model_takes_what_json_says(self):
        class Strict(pydantic.BaseModel):
            model_config = pydantic.ConfigDict(strict=True)
            mood: Mood
            day: dt.date
            id: uuid.UUID
            pair: tuple[int, str]

        text = json.dumps(
            {"mood": next(iter(Mood)).value, "day": "2026-11-24", "id": str(uuid.UUID(int=5)), "pair": [1, "a"]}
        )
        assert read(Strict).parse(text) == Strict.model_validate_json(text)

    def test_a_union_of_lists_of_dataclasses(self):
        @dataclass
        class Cat:
            lives: int

        @dataclass
        class Dog:
            tricks: str

        @dataclass
        class Home:
            pets: list[Cat] | list[Dog]

        assert read(Home).parse('{"pets": [{"tricks": "sit"}]}') == Home([Dog("sit")])

    def test_two_classes_of_one_name(self):
        def make(kind):
            @dataclass
            class Part:
                value: kind

            return Part

        first, second = make(int), make(str)

        @dataclass
        class Whole:
            one: first
            two: second

        assert read(Whole).parse('{"one": {"value": 1}, "two": {"value": "a"}}') == Whole(first(1), second("a"))

    def test_an_enumeration_of_tuples_which_no_json_is(self):
        @dataclass
        class Car:
            colour: Colour

        with pytest.raises(PhiError, match=r"Car refuses the answer: colour: Input should be \(1, 0, 0\)"):
            read(Car).parse('{"colour": [0, 0, 1]}')

    def test_a_variable_that_is_given_and_not_kept(self):
        @dataclass
        class Account:
            name: str
            code: InitVar[int]
            double: int = field(init=False)

            def __post_init__(self, code):
                self.double = 2 * code

        made = read(Account).parse('{"name": "a", "code": 4}')
        assert (made.name, made.double) == ("a", 8)
        assert set(json.loads(read(Account).text)["properties"]) == {"name", "code"}

    def test_a_bare_list(self):
        @dataclass
        class Things:
            all: list

        assert read(Things).parse('{"all": [1, "a", null]}') == Things([1, "a", None])

    @pytest.mark.parametrize("raised", [ValueError("no"), RuntimeError("boom"), KeyError("k"), AttributeError()])
    def test_what_a_class_raises_is_one_line(self, raised):
        @dataclass
        class Angry:
            name: str

            def __post_init__(self):
                raise raised

        with pytest.raises(PhiError, match="Angry refuses the answer: "):
            read(Angry).parse('{"name": "a"}')

    def test_an_error_that_cannot_be_written_or_is_long_is_one_line_too(self):
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError("mute")

        class Angry(pydantic.BaseModel):
            error: Literal["mute", "long"]

            @pydantic.field_validator("error")
            @classmethod
            def fail(cls, error):
                raise Mute if error == "mute" else ValueError("long " * 1000)

        with pytest.raises(PhiError, match=r"Angry refuses the answer: .*Mute"):
            read(Angry).parse('{"error": "mute"}')
        with pytest.raises(PhiError, match="Angry refuses the answer: error: Value error, long") as error:
            read(Angry).parse('{"error": "long"}')
        assert len(str(error.value)) < 300

    def test_a_lone_surrogate_is_replaced(self):
        @dataclass
        class Named:
            name: str

        assert read(Named).parse('{"name": "a\\ud800"}') == Named("a?")

    def test_a_class_that_is_not_defined_yet_is_named(self):
        @dataclass
        class Early:
            later: "Undefined"  # noqa: F821

        with pytest.raises(PhiError, match=r"Early has no JSON schema: .*Undefined"):
            read(Early)

    @pytest.mark.parametrize(
        ("schema", "text"),
        [
            ({"type": "integer", "maximum": 2**53 - 1}, str(2**53)),
            ({"type": "integer", "maximum": 2**63 - 1}, str(2**63)),
            ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e-300}, "0"),
            ({"type": "string", "pattern": "^[\\x00-\\x1f]$"}, '"a"'),
            ({"type": "array", "uniqueItems": True}, "[1, 1]"),
        ],
    )
    def test_an_answer_that_breaks_its_schema_gives_no_object(self, schema, text):
        with pytest.raises(PhiError, match="the answer breaks its schema"):
            read(schema).parse(text)


class TestMagic:
    @pytest.fixture
    def ip(self, shell):
        shell.run_line_magic("load_ext", "phi_magic")
        shell.run_line_magic("config", "Phi.model = 'demo'")
        shell.user_ns["person"] = PERSON
        return shell

    def test_a_variable_or_a_path(self, ip):
        Path("person.json").write_text(json.dumps(PERSON))
        for name in ("person", "person.json"):
            ip.run_cell_magic("phi", f"--schema {name} --seed 1 -q -o answer", "Someone")
            assert list(ip.user_ns["answer"].data) == ["name", "age"]

    def test_one_that_was_cut_says_so(self, ip, capsys):
        ip.run_cell_magic("phi", "--schema person -n 3", "Someone")
        assert "cut at -n" in capsys.readouterr().err

    def test_an_answer_that_its_class_refuses_is_shown_and_bound(self, ip, capsys):
        @dataclass
        class Odd:
            number: Literal[2, 4]

            def __post_init__(self):
                raise RuntimeError("not odd")

        ip.user_ns["Odd"] = Odd
        ip.run_cell_magic("phi", "--schema Odd --seed 1 -o answer", "A number")
        answer = ip.user_ns["answer"]
        assert (json.loads(answer.text)["number"] in (2, 4), answer.data) == (True, None)
        shown = capsys.readouterr()
        assert answer.text in shown.out
        assert "Odd refuses the answer: RuntimeError: not odd" in shown.err

    def test_a_sweep_is_held_to_it(self, ip):
        ip.run_cell_magic("phi_sweep", "seed=1:3 --schema person -o df", "Someone")
        replies = [
            o["metadata"]["phi_magic"]["replies"] for o in ip.display_pub.outputs if "phi_magic" in o["metadata"]
        ]
        assert all(reply["text"].lstrip().startswith("{") for reply in replies[0])

    def test_tab_offers_what_can_be_a_schema(self, ip):
        ip.user_ns |= {"perfect": 5, "Perch": Place}
        with provisionalcompleter():
            line = "%%phi --schema Per"
            assert [c.text for c in ip.Completer.completions(line, len(line))] == ["Perch"]
            line = "%%phi --schema per"
            assert [c.text for c in ip.Completer.completions(line, len(line))] == ["person"]

    @pytest.mark.parametrize(
        ("line", "says"),
        [("--schema persn", "did you mean person?"), ("--schema nope.json", "cannot be read"), ("--schema In", "list")],
    )
    def test_a_mistake_is_one_line(self, ip, line, says):
        ip.user_ns["In"] = []
        with pytest.raises(UsageError, match=says):
            ip.run_cell_magic("phi", line, "Someone")


def test_the_terminal_takes_a_path_and_says_what_was_cut(capsys):
    Path("person.json").write_text(json.dumps(PERSON))
    assert main(["-m", "demo", "--schema", "person.json", "--seed", "1", "Someone"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["name", "age"]
    assert main(["-m", "demo", "--schema", "person.json", "-n", "3", "Someone"]) == 0
    assert "cut at -n" in capsys.readouterr().err
    assert main(["-m", "demo", "--schema", "nope.json", "Someone"]) == 2


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there are no device files here")
def test_a_schema_in_what_is_no_regular_file_is_one_line(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in ("/dev/zero", tmp_path / "fifo"):
        with pytest.raises(PhiError, match="it is not a regular file"):
            read(path)


def test_a_validator_that_exits_costs_the_object_alone():
    class Exits(pydantic.BaseModel):
        age: int

        @pydantic.field_validator("age")
        @classmethod
        def exits(cls, value):
            raise SystemExit(3)

    phi = Phi(model="demo")
    phi.backend = FakeBackend('{"age": 3}')
    reply = phi("x", schema=Exits)
    assert (reply.text, reply.data) == ('{"age": 3}', None)
    assert "Exits refuses the answer: SystemExit: 3" in reply.error
