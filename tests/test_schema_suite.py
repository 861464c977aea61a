"""The public JSON Schema Test Suite: nothing invalid can be written, and what is drawn at random validates."""

from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from phi_magic import PhiError
from phi_magic.engine.grammar import Grammar
from phi_magic.engine.model import Model
from tests.engine.test_grammar import follows

DRAFTS = {"draft2020-12": jsonschema.Draft202012Validator, "draft7": jsonschema.Draft7Validator}
#: Files of the suite with cases that the grammar holds an answer to in part; docs/structure.md says so.
IN_PART = {
    "ref.json",  # draft 7: a $id beside a $ref moves the base of the address
    "optional/content.json",  # contentEncoding, contentMediaType: remarks of a schema, not assertions
    "optional/ecmascript-regex.json",  # one white space that another standard does not count as one
    "optional/format/date.json",  # a 29th of February in any year
    "optional/format/date-time.json",  # a leap second at any minute
    "optional/format/hostname.json",  # what is behind xn--
    "optional/format/time.json",
}


@pytest.fixture(scope="module")
def model():
    model = Model(Path(str(files("phi_magic") / "demo" / "phi-demo.gguf")))
    yield model
    model.close()


@pytest.fixture(params=DRAFTS)
def draft(request):
    return request.param


@pytest.fixture
def cases(draft):
    lines = (Path(__file__).parent / "data" / "json_schema_test_suite" / f"{draft}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in lines.splitlines()]


def test_nothing_invalid_can_be_written(model, cases):
    seen = Counter()
    wrong = set()
    for case in cases:
        try:
            Grammar(model, json.dumps(case["schema"]))
        except PhiError as error:
            assert "\n" not in str(error)  # noqa: PT017 (being followed is as good)
            continue
        for test in case["tests"]:
            written = follows(model, case["schema"], json.dumps(test["data"], ensure_ascii=False))
            seen[test["valid"], written] += 1
            if written and not test["valid"]:
                wrong.add(case["file"])
    assert wrong <= IN_PART
    assert seen[True, True] > 10 * seen[True, False]  # the others are valid JSON that is spelled another way
    assert seen[False, False] > 400


def test_what_is_drawn_at_random_validates(draft, model, cases):
    random = np.random.default_rng(0)
    written = 0
    for case in cases:
        validator = DRAFTS[draft](case["schema"])
        try:
            text = drawn(model, case["schema"], random)
        except PhiError:
            continue
        if text is None or "\\p{" in json.dumps(case["schema"]):  # jsonschema's regular expressions lack it
            continue
        written += 1
        assert validator.is_valid(json.loads(text)) or case["file"] in IN_PART, (case["description"], text)
    assert written > 150


def drawn(model, schema, random):
    """An answer of random tokens, those that close something preferred; None where it has not ended by then."""
    grammar = Grammar(model, json.dumps(schema))
    text = b""
    for _ in range(80):
        allowed = grammar.allowed()
        if any(model.ends(int(token)) for token in allowed) and random.random() < 0.7:
            return text
        closing = [token for token in allowed if set(b'"]}') & set(model.piece(int(token)))]
        token = int(random.choice(closing if closing and random.random() < 0.5 else allowed))
        if model.ends(token):
            return text
        grammar.accept(token)
        text += model.piece(token)
        if grammar.complete:
            return text
    return None
