"""The chat templates and tokenizer cases beside llama.cpp's sources: what other programs make of them, we make too."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from phi_magic import Phi, PhiError
from phi_magic.engine.engine import Engine
from phi_magic.engine.model import Model
from phi_magic.generation.thoughts import place_of_thoughts, tags_in
from phi_magic.gguf.checks import read_header
from phi_magic.prompt.rendering import render
from tests.architectures import ARCHITECTURES, write
from tests.test_architectures import TEXT

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


#: Where an answer to the template's prompt begins: within thoughts, where thoughts may begin, or after those left out.
THINKING = {
    "begun": {
        "<think>": "GLM-4.7-Flash MiniMax-M2 NVIDIA-Nemotron-3-Nano-30B-A3B-BF16 NVIDIA-Nemotron-Nano-v2 Qwen3.5-4B Spark2.5 "
        "StepFun3.5-Flash deepseek-ai-DeepSeek-R1-Distill-Llama-8B inclusionai-ling-3.0-flash llama-cpp-deepseek-r1 "
        "poolside-Laguna-S-2.1",
        "<|START_THINKING|>": "Cohere2MoE",
        "Here are my reasoning steps:\n": "Apriel-1.6-15b-Thinker-fixed",
    },
    "open": {
        "<think>": "Bielik-11B-v3.0-Instruct GLM-4.6 HuggingFaceTB-SmolLM3-3B Kimi-K2-Thinking LFM2.5-8B-A1B LFM2.5-Instruct "
        "Qwen-Qwen3-0.6B Reka-Edge ibm-granite-granite-3.3-2B-Instruct llama-cpp-rwkv-world openbmb-MiniCPM5-1B",
        "<seed:think>": "ByteDance-Seed-OSS",
        "<mm:think>": "MiniMax-M3",
        "[THINK]": "mistralai-Ministral-3-14B-Reasoning-2512",
        "<|channel|>analysis<|message|>": "openai-gpt-oss-120b",
        "Here are my reasoning steps:\n": "unsloth-Apriel-1.5",
        "<|think|>": "upstage-Solar-Open-100B",
    },
    "left out": {
        "<think>": "Qwen-QwQ-32B deepseek-ai-DeepSeek-R1-Distill-Qwen-32B deepseek-ai-DeepSeek-V3.1 "
        "deepseek-ai-DeepSeek-V3.2 deepseek-ai-DeepSeek-V4-Flash-0731 deepseek-ai-DeepSeek-V4 poolside-Laguna-XS-2.1 "
        "poolside-Laguna-XS.2",
        "<|START_THINKING|>": "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
        "<|channel>thought\n": "google-gemma-4-31B-it-interleaved google-gemma-4-31B-it",
    },
}


def test_the_tags_of_every_published_template_are_known(llama_cpp_sources):
    found = {place: {} for place in THINKING}
    for path in sorted((llama_cpp_sources / "models/templates").glob("*.jinja")):
        template = path.read_text("utf-8")
        if tags := tags_in(template, ()):
            place = place_of_thoughts(
                render([FIRST], template=template, controls=[], bos=BOS, eos=EOS, now=DAY).text, tags
            )
            found[place].setdefault(tags.opening, set()).add(path.stem)
    assert found == {
        place: {opening: set(names.split()) for opening, names in of.items()} for place, of in THINKING.items()
    }


@pytest.fixture(scope="module")
def stand_ins(llama_cpp_sources, tmp_path_factory):
    """Models with random weights and the vocabularies beside llama.cpp's sources, by the vocabulary's file."""
    folder = tmp_path_factory.mktemp("stand-ins")
    published = sorted((llama_cpp_sources / "models").glob("ggml-vocab-*.gguf"))
    writing = [path for path in published if "bert" not in path.name]  # such a model does not write
    for path in writing:
        write(folder / path.name, ARCHITECTURES["phi3, BPE"], vocabulary=path)
    return {path: folder / path.name for path in writing}


def cases(path):
    """The texts beside a vocabulary, and the tokens that they are in the program that the vocabulary is from."""
    separator = "\n__ggml_vocab_test__\n"
    texts = path.with_name(f"{path.name}.inp").read_bytes().decode().removesuffix(separator).split(separator)
    tokens = path.with_name(f"{path.name}.out").read_text("utf-8").splitlines()
    return [(text, [int(token) for token in line.split()]) for text, line in zip(texts, tokens, strict=True)]


def test_a_text_becomes_the_tokens_that_it_is_elsewhere(stand_ins):
    different, tried = [], 0
    for path, stand_in in stand_ins.items():
        read_header(stand_in)
        model = Model(stand_in)
        for text, wanted in cases(path) if path.with_name(f"{path.name}.inp").exists() else ():
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


def test_a_model_with_a_published_vocabulary_answers_and_keeps_the_promise(stand_ins):
    for path in stand_ins.values():
        phi = Phi(model=str(path), seed=1, max_tokens=8)
        phi.backend = Engine()
        ids = [token.id for token in phi.tokenize(TEXT)]
        stream = phi.stream("ice", begin=ids, max_tokens=len(ids))
        pieces = list(stream)
        assert "".join(pieces) == stream.reply.text == TEXT, path.name
        assert not [piece for piece in pieces if "\ufffd" in piece]
        first = phi("What is ice?")
        phi("Something else, and longer than that", max_tokens=2)
        assert phi("What is ice?").tokens == first.tokens
        phi.unload()
