"""The chat templates and tokenizer cases beside llama.cpp's sources: what other programs make of them, we make too."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from phi_magic import PhiError
from phi_magic.engine.llama import C
from phi_magic.engine.model import Model
from phi_magic.prompt.rendering import render

pytestmark = pytest.mark.packaging

DAY = datetime(2025, 12, 24, 18, 30)  # noqa: DTZ001 (local time, as in transformers)
BOS, EOS = "<s>", "</s>"
SYSTEM = {"role": "system", "content": "You answer in one sentence."}
FIRST = {"role": "user", "content": "What is ice?"}
ANSWER = {"role": "assistant", "content": "Ice is frozen water."}
SECOND = {"role": "user", "content": "And snow?\nSay it briefly."}
CONVERSATIONS = {
    "user": [FIRST],
    "system and user": [SYSTEM, FIRST],
    "two turns": [FIRST, ANSWER, SECOND],
    "system and two turns": [SYSTEM, FIRST, ANSWER, SECOND],
}


class Marked(Extension):
    """``{% generation %}`` as transformers has it, less the record of where it stood."""

    tags = frozenset({"generation"})

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("written"), [], [], body).set_lineno(line)

    def written(self, caller):
        return caller()


def as_transformers(template, messages):
    """What jinja2's sandbox writes with transformers' settings, and whether it asked for the date."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Marked, "jinja2.ext.loopcontrols"]
    )
    asked = []

    def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def refuse(reason):
        raise TemplateError(reason)

    def strftime_now(pattern):
        asked.append(pattern)
        return DAY.strftime(pattern)

    environment.filters["tojson"] = to_json
    environment.globals |= {"raise_exception": refuse, "strftime_now": strftime_now}
    text = environment.from_string(template).render(
        messages=messages, add_generation_prompt=True, bos_token=BOS, eos_token=EOS
    )
    return text, bool(asked)


def with_the_system_message_in_the_first_turn(messages):
    system, first, *rest = messages
    return [{"role": "user", "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def expected(template, messages):
    """None where transformers' settings refuse the conversation, even with the system message in the first turn."""
    system = messages[0] == SYSTEM
    try:
        text, dated = as_transformers(template, messages)
        if not system or SYSTEM["content"] in text:
            return text, dated
    except TemplateError:
        if not system:
            return None
    return expected(template, with_the_system_message_in_the_first_turn(messages))


def ours(template, messages):
    try:
        rendered = render(messages, template=template, controls=[], bos=BOS, eos=EOS, now=DAY)
    except PhiError:
        return None
    return rendered.text, rendered.date == DAY.isoformat()


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_a_published_template_is_rendered_as_transformers_renders_it_or_refused_by_both(
    llama_cpp_sources, conversation
):
    messages = CONVERSATIONS[conversation]
    published = {
        path.name: path.read_text("utf-8") for path in (llama_cpp_sources / "models/templates").glob("*.jinja")
    }
    wanted = {name: expected(template, messages) for name, template in published.items()}
    assert {name: ours(template, messages) for name, template in published.items()} == wanted
    assert sum(found is not None for found in wanted.values()) >= 60
    assert sum(found is not None and found[1] for found in wanted.values()) >= 3  # with a date


@pytest.fixture
def vocabulary_alone(monkeypatch):
    """Has llama.cpp load what a GGUF without weights holds."""
    params = C.llama_model_default_params

    def vocabulary_only():
        chosen = params()
        chosen.vocab_only = True
        return chosen

    monkeypatch.setattr(C, "llama_model_default_params", vocabulary_only)


def cases(path):
    """The texts beside a vocabulary, and the tokens that they are in the program that the vocabulary is from."""
    separator = "\n__ggml_vocab_test__\n"
    texts = path.with_name(f"{path.name}.inp").read_bytes().decode().removesuffix(separator).split(separator)
    tokens = path.with_name(f"{path.name}.out").read_text("utf-8").splitlines()
    return [(text, [int(token) for token in line.split()]) for text, line in zip(texts, tokens, strict=True)]


def test_a_text_becomes_the_tokens_that_it_is_elsewhere(llama_cpp_sources, vocabulary_alone):
    different, tried = [], 0
    texts = sorted((llama_cpp_sources / "models").glob("*.gguf.inp"))
    for path in [path for path in texts if "bert" not in path.name]:  # such a model does not write
        model = Model(path.with_suffix(""))
        for text, wanted in cases(path.with_suffix("")):
            tried += 1
            rendered = render(
                [{"role": "user", "content": text}], template="{{ messages[0].content }}", controls=model.controls
            )
            shielded = f"{text[:1]}\U0010fffd{text[1:]}"
            found = [
                model.tokenize(rendered.text, shield=rendered.shield, bos=False),
                model.tokenize(shielded, shield="\U0010fffd", bos=False),
            ]
            if found != [wanted, wanted]:
                different.append((path.name, text, wanted, found))
        model.close()
    assert not different
    assert tried > 500
