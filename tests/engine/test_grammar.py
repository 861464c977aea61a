"""The tokens that a grammar allows: those of JSON that follows a schema, and of nothing else."""

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from phi_magic import PhiError
from phi_magic.engine.grammar import Grammar
from phi_magic.engine.model import Model
from phi_magic.engine.thinking import thinking_of
from phi_magic.generation.thoughts import Tags

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model():
    model = Model(Path(str(files("phi_magic") / "demo" / "phi-demo.gguf")))
    yield model
    model.close()


def follows(model, schema, text):
    """Whether the grammar lets a model write a text as a whole answer, token by token."""
    return spells(model, Grammar(model, json.dumps(schema)), model.tokens_within(text))


def spells(model, grammar, tokens):
    """Whether tokens are a whole answer."""
    for token in tokens:
        if grammar.complete or token not in grammar.allowed():
            return False
        grammar.accept(token)
    return grammar.complete or any(model.ends(int(token)) for token in grammar.allowed())


# Schema, an answer that it allows, an answer that it does not.
CASES = [
    ({"type": "string"}, '"ice"', "5"),
    ({"type": "string", "minLength": 2, "maxLength": 3}, '"ab"', '"abcd"'),
    ({"type": "string", "pattern": "^[a-c]+$"}, '"abc"', '"abd"'),
    ({"type": "string", "format": "date"}, '"2024-02-29"', '"2024-2-9"'),
    ({"type": "integer"}, "-12", "1.5"),
    ({"type": "integer", "minimum": 3, "maximum": 17}, "17", "18"),
    ({"type": "number", "exclusiveMinimum": 0}, "0.5", "0"),
    ({"type": "integer", "multipleOf": 5}, "35", "36"),
    ({"type": "boolean"}, "true", "1"),
    ({"type": "null"}, "null", "false"),
    ({"type": ["string", "null"]}, "null", "1"),
    ({"const": {"a": [1]}}, '{"a": [1]}', '{"a": [2]}'),
    ({"enum": ["ice", 5]}, "5", '"sea"'),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2}, "[1, 2]", "[1, 2, 3]"),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, "[1]", "[1, 2]"),
    (PERSON, '{"name": "Ida", "age": 9}', '{"name": "Ida"}'),
    (PERSON, '{"name":"Ida","age":9}', '{"name": "Ida", "age": 9, "more": 1}'),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, '{"a": 1}', '{"a": "b"}'),
    ({"type": "object", "patternProperties": {"^n": {"type": "null"}}}, '{"no": null}', '{"no": 1}'),
    ({"type": "object", "minProperties": 1, "additionalProperties": {"type": "null"}}, '{"a": null}', "{}"),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "null", '"x"'),
    ({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 5}]}, "4", "6"),
    ({"$defs": {"n": {"type": "integer"}}, "type": "array", "items": {"$ref": "#/$defs/n"}}, "[1]", '["1"]'),
    (
        {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False},
        '{"next": {}}',
        '{"x": 1}',
    ),
]


@pytest.mark.parametrize(("schema", "right", "wrong"), CASES, ids=lambda case: str(case)[:40])
def test_what_validates_can_be_written_and_nothing_else(model, schema, right, wrong):
    validates = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).is_valid
    assert validates(json.loads(right))
    assert not validates(json.loads(wrong))
    assert follows(model, schema, right)
    assert not follows(model, schema, wrong)


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"if": {"type": "string"}, "then": {"maxLength": 2}}, "if"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "array", "contains": {"const": 1}}, "contains"),
        ({"propertyNames": {"maxLength": 3}}, "propertyNames"),
        ({"unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"dependentSchemas": {"a": {}}}, "dependentSchemas"),
        ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, "oneOf"),
        ({"type": "string", "format": "shoe-size"}, "format"),
        ({"type": "string", "pattern": "(?=a)b"}, "regex"),
        ({"$ref": "https://example.com/schema.json"}, "example.com"),
        ({"x-guidance": {"lenient": True}, "not": {}}, "not"),
    ],
    ids=lambda case: str(case)[:40],
)
def test_what_cannot_be_kept_is_refused_by_name(model, schema, name):
    with pytest.raises(PhiError) as error:
        Grammar(model, json.dumps(schema))
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def deep(count, wrap, inner):
    for _ in range(count):
        inner = wrap(inner)
    return inner


HOSTILE = {
    "deep objects": '{"properties": {"a": ' * 50_000 + "{}" + "}}" * 50_000,
    "deep within the limit": '{"properties": {"a": ' * 9_000 + "{}" + "}}" * 9_000,
    "deep arrays": json.dumps(deep(60, lambda s: {"type": "array", "items": s}, {})),
    "left recursion": json.dumps({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {}]}}, "$ref": "#/$defs/a"}),
    "only itself": json.dumps({"$ref": "#"}),
    "a circle": json.dumps({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
    "no end": json.dumps({"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]}),
    "doubling": json.dumps(
        {
            "$defs": {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(20)} | {"d20": {}},
            "$ref": "#/$defs/d0",
        }
    ),
    "long text": json.dumps({"type": "string", "minLength": 10**9}),
    "many items": json.dumps({"type": "array", "minItems": 10**9}),
    "nested repeats": json.dumps({"type": "string", "pattern": "^((a{1,1000}){1,1000}){1,1000}$"}),
    "many states": json.dumps({"type": "string", "pattern": "^(.*a.{20})$"}),
    "a large factor": json.dumps({"type": "integer", "multipleOf": 7919 * 104729}),
    "a wide range": json.dumps({"type": "number", "minimum": 0.1234567890123, "maximum": 1e300}),
    "wide alternatives": json.dumps(
        {"anyOf": [{"properties": {f"k{i}": {}}, "required": [f"k{i}"]} for i in range(2500)]}
    ),
    "a long key": json.dumps({"properties": {"x" * 100_000: {}}, "required": ["x" * 100_000], "type": "object"}),
    "larger than allowed": json.dumps({"enum": [f"x{i}" for i in range(100_000)]}),
    "false": json.dumps({"type": "integer", "minimum": 2, "maximum": 1}),
    "a lone surrogate": '{"const": "\\ud800"}',
    "no JSON": "{",
    "NUL": '{"const": "\\u0000"}',
}


@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_schema_is_followed_or_refused_in_one_line(model, schema):
    random = np.random.default_rng(0)
    try:
        grammar = Grammar(model, schema)
        for _ in range(40):
            token = int(random.choice(grammar.allowed()))
            if model.ends(token):
                break
            grammar.accept(token)
            if grammar.complete:
                break
    except PhiError as error:
        assert "\n" not in str(error)  # noqa: PT017 (being followed is as good)


def test_a_token_that_is_not_allowed_is_refused(model):
    grammar = Grammar(model, json.dumps({"type": "integer"}))
    [letter] = model.tokens_within("x")
    with pytest.raises(PhiError, match="does not follow the schema"):
        grammar.accept(letter)


@pytest.mark.parametrize(
    "schema",
    [
        {"const": 2**53 + 1},
        {"type": "integer", "minimum": 2**53 + 1, "maximum": 2**53 + 1},
        {"type": "array", "items": {"type": "integer", "exclusiveMinimum": 2**53 + 1}},
        {"type": "integer", "maximum": -(2**53) - 1},
        {"type": "integer", "exclusiveMaximum": -(2**53) - 1},
    ],
    ids=str,
)
def test_numbers_that_would_be_rounded_are_refused(model, schema):
    with pytest.raises(PhiError, match=r"2\*\*53"):
        Grammar(model, json.dumps(schema))


def test_a_bound_that_is_merely_far_away_is_taken(model):
    assert Grammar(model, json.dumps({"type": "integer", "minimum": 0, "maximum": 2**63 - 1}))


class TestThinking:
    """An answer that begins with thoughts, or may begin with them."""

    SCHEMA = json.dumps({"type": "array", "items": {"type": "integer"}, "maxItems": 1})

    def takes(self, model, *parts, tags=("<think>", "</think>"), begun=False):
        """Whether thoughts and an answer can be written, of which each part is a text or a token."""
        model.tags = Tags(*tags)
        grammar = Grammar(model, self.SCHEMA, thinking=thinking_of(model, begun=begun))
        return spells(
            model, grammar, [t for p in parts for t in ([p] if isinstance(p, int) else model.tokens_within(p))]
        )

    @pytest.mark.parametrize(
        "text",
        [
            "<think>A plan.</think>[1]",
            "<think>\nA plan.\n</think>\n\n[1]",
            "<think>The tag <think> opens.</think>[1]",
            "[1]",
        ],
    )
    def test_a_model_may_think_before_it_follows_the_schema(self, model, text):
        assert self.takes(model, text)

    @pytest.mark.parametrize(
        "text",
        ["A plan.\n\n</think>\n\n[1]", "</think>[1]", "a < b, and b </ thin </thin{[}]]</think> [1]"],
    )
    def test_thoughts_that_the_prompt_has_begun_end_at_the_closing_tag(self, model, text):
        assert self.takes(model, text, begun=True)
        assert not self.takes(model, text)

    @pytest.mark.parametrize(
        "text",
        [
            *["<think>A plan.", "<think>", "<think>[1]", "<think>A plan.</think>", "<think>A plan.</think>one"],
            *["<think>A</think>[1] more", "<think>A</think>[1]</think>", "<think>a<think>b</think>c</think>[1]"],
            *["", "A plan.[1]"],
        ],
    )
    def test_thoughts_without_an_answer_or_with_another_one_are_not_whole(self, model, text):
        assert not self.takes(model, text)
        assert not self.takes(model, text.removeprefix("<think>"), begun=True)

    def test_a_tag_that_is_a_token(self, model):
        tags = opening, closing = "<|placeholder1|>", "<|placeholder2|>"
        first, last = model.controls[opening], model.controls[closing]
        assert self.takes(model, first, "A plan.", last, "[1]", tags=tags)
        assert self.takes(model, "A plan.\n", last, "\n[1]", tags=tags, begun=True)
        assert self.takes(model, first, last, "[1]", tags=tags)
        assert self.takes(model, "[1]", tags=tags)
        assert self.takes(model, first, "A plan.</think>[1]", tags=(opening, "</think>"))
        assert not self.takes(model, "A", first, last, "[1]", tags=tags)
        assert not self.takes(model, first, "A plan.", closing, "[1]", tags=tags)  # its spelling is text like any other

    def test_a_tag_of_several_tokens_and_an_answer_with_a_tag(self, model):
        one, two = "<|placeholder1|>", "<|placeholder2|>"
        first, last = model.controls[one], model.controls[two]
        tags = f"{one}analysis{two}", f"{two}{one}final{two}", f"{one}final{two}"
        assert self.takes(model, first, "analysis", last, "A plan.", last, first, "final", last, "[1]", tags=tags)
        assert self.takes(model, first, "final", last, "[1]", tags=tags)
        assert self.takes(model, "[1]", tags=tags)
        assert not self.takes(model, first, "analysis", last, "A plan.", last, "[1]", tags=tags)

    @pytest.mark.parametrize("closing", ['"]', "a/b", "\\", "\n---\n", "】", "#"])
    def test_any_text_can_be_the_tag(self, model, closing):
        assert self.takes(model, f"<t>plan{closing}[1]", tags=("<t>", closing))

    def test_a_schema_that_cannot_be_kept_is_refused_all_the_same(self, model):
        thinking = thinking_of(model, begun=True)
        with pytest.raises(PhiError, match="uniqueItems"):
            Grammar(model, json.dumps({"type": "array", "uniqueItems": True}), thinking=thinking)
