"""Generated option lines, templates and prompts: an answer, or one line that says what is wrong."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from IPython.core.error import UsageError

from phi_magic import Phi, PhiError
from phi_magic.engine.model import Model
from phi_magic.options import ASKING, CELL
from phi_magic.prompt.rendering import render
from phi_magic.prompt.variables import fill
from phi_magic.reply import Reply
from tests.gguf_files import byte_level, gguf, metadata, tensors
from tests.reliability.models import DEMO

LONG = pytest.param(10_000, marks=pytest.mark.torture)
UNICODE = st.text(st.characters(exclude_categories=()), max_size=60)  # every plane, lone surrogates, NUL
FLAGS = st.sampled_from([flag for option in (*ASKING, *CELL) for flag in option.flags])
WORDS = st.one_of(
    FLAGS,
    UNICODE,
    st.sampled_from(
        ["0", "-1", "1e999", "nan", "inf", "--", "''", '"', "\\", "=", "a/b", "../../x.gguf", "\0", "{{x}}"]
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.builds("{}={}".format, FLAGS, UNICODE),
)
LINES = st.lists(WORDS, max_size=6).map(" ".join)
# Pieces that templates, tokenizers and parsers act on; the control tokens of the families that Phi's users meet.
CONTROLS = (
    "<|end|> <|user|> <|assistant|> <|system|> <|endoftext|> <s> </s> <unk> <|im_start|> <|im_end|> <|im_sep|> [INST] [/INST] "
    "<<SYS>> <|eot_id|> <|start_header_id|> <|end_header_id|> <|begin_of_text|> <start_of_turn> <end_of_turn> <bos> <eos> "
    "<|fim_prefix|> <think> </think> <|channel|> <|message|> <0x0A> ▁"
).split()
PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [*CONTROLS, "{{", "}}", "{{ wrong() }}", "{%", "%}", "{#", "\n", " " * 300, "ice", "e\u0301" * 9]
        ),
        UNICODE,
    ),
    max_size=12,
).map("".join)
CONTROL, USER_DEFINED = 3, 4  # types of tokens in a GGUF
ROLES = ["system", "user", "assistant"]
MARKERS = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
TEMPLATES = {
    "phi-3": "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}<|assistant|>\n",
    "phi-2": "{% for m in messages %}Instruct: {{ m.content }}\nOutput:{% endfor %}",
    "chatml": "{% for m in messages %}<|im_start|>{{ m.role }}<|im_sep|>{{ m.content }}<|im_end|>{% endfor %}<|im_start|>assistant<|im_sep|>",
    "llama-2": "{% for m in messages %}{{ bos_token }}[INST] {{ m.content }} [/INST]{% endfor %}",
    "llama-3": "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>{% endfor %}",
    "gemma": "{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}",
}


def examples(count):
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def one_line(act):
    """Whether it was refused, in one line that a screen can show; else it is done."""
    try:
        act()
    except (PhiError, UsageError) as error:
        said = str(error)
        assert said
        assert said.isprintable(), repr(said)
        return True
    return False


def wrong():
    raise ValueError("a text\nof two lines \x1b[31m")


@pytest.mark.parametrize("count", [60, LONG])
@pytest.mark.filterwarnings("ignore")
def test_any_option_line_and_body_is_answered_or_refused(shell, figure, count):
    shell.run_line_magic("load_ext", "phi_magic")
    shell.run_line_magic("config", f"Phi.model = {str(DEMO)!r}")
    shell.user_ns["wrong"] = wrong
    refused = []

    @examples(count)
    @given(LINES, PIECES, st.booleans())
    @example("", "-\x1b[31m", False)
    @example("--schema ~no_such_user", "ice", False)
    @example("", "{{ wrong() }}", True)
    def ask(line, body, in_a_cell):
        line = f"--quiet --max-tokens 2 --out reply {line}".replace("--no-stream", "").partition("\n")[0]
        if in_a_cell:
            refused.append(one_line(lambda: shell.run_cell_magic("phi", line, body)))
        else:
            refused.append(one_line(lambda: shell.run_line_magic("phi", f"{line} {body}")))
        answers = [name for name, value in shell.user_ns.items() if isinstance(value, Reply)]
        assert len(answers) == (not refused[-1])
        for name in answers:
            assert shell.user_ns.pop(name).finish_reason != "interrupted"

    ask()
    figure(
        "Generated option lines, templates over variables, and prompts",
        f"{len(refused)}: {len(refused) - sum(refused)} answered, {sum(refused)} refused in one line each",
    )


@pytest.mark.parametrize(
    "word", ["-\x1b[31m", "\u202e", "\ud800", "a\0b", "~no_such_user", "./\x1b/a.json", "a/b/\u202e.gguf"]
)
@pytest.mark.parametrize(
    "line",
    [
        *("phi_chat", "phi_chat save default", "phi_chat read default", "phi_models", "phi_models info"),
        *("phi_replay", "phi_fix", "phi_explore -m", "phi_panel"),
    ],
)
def test_any_word_after_another_magic_is_taken_or_refused(shell, line, word):
    shell.run_line_magic("load_ext", "phi_magic")
    magic, _, before = line.partition(" ")
    one_line(lambda: shell.run_line_magic(magic, f"{before} {word}"))


@pytest.mark.parametrize("count", [100, LONG])
def test_any_chat_template_is_rendered_or_refused(figure, count):
    refused = []
    parts = [
        "{{ messages }}",
        "{{ messages[0].content }}",
        "{% for m in messages %}",
        "{% endfor %}",
        "{{ m.content }}",
    ]
    parts += [
        "{% set x = 9 %}",
        "{{ x * x }}",
        "{{ ''.__class__ }}",
        "{% if x %}",
        "{% endif %}",
        "{{ range(99999) }}",
        "|",
    ]
    templates = st.lists(st.one_of(st.sampled_from(parts), PIECES), max_size=8).map("".join)

    @examples(count)
    @given(templates, PIECES)
    def use(template, content):
        asked = [{"role": "user", "content": content}]
        refused.append(one_line(lambda: render(asked, template=template, controls=MARKERS)))

    use()
    figure(
        "Generated chat templates",
        f"{len(refused)}: {len(refused) - sum(refused)} rendered, {sum(refused)} refused in one line each",
    )


def model_with(path, said, template, kind):
    """A model that writes nonsense, whose vocabulary has the control tokens of every family; and their ids."""
    tokens = said["tokenizer.ggml.tokens"]
    types = said["tokenizer.ggml.token_type"]
    added = [text for text in CONTROLS if text not in tokens and text != "▁"]
    ids = [*range(3), *range(len(tokens), len(tokens) + len(added))]
    said |= {
        "tokenizer.ggml.tokens": [*tokens, *added],
        "tokenizer.ggml.token_type": [*types, *[kind] * len(added)],
        "tokenizer.chat_template": template,
    }
    if "tokenizer.ggml.scores" in said:
        said["tokenizer.ggml.scores"] = [0.0] * (len(tokens) + len(added))
    path.write_bytes(gguf(said, tensors(len(tokens) + len(added))))
    return Model(path), ids


def inject(model, ids, how, tried):
    """Whatever is said, and whoever says it, the prompt has just the control tokens that its template writes."""

    def read(role, content):
        turns = [("system", "rain"), ("user", "rain"), ("assistant", "rain"), ("user", "rain")]
        asked = [{"role": turn, "content": content if turn == role else said} for turn, said in turns]
        rendered = render(asked, template=model.chat_template, controls=model.controls, bos="<s>", eos="</s>")
        return model.tokenize(rendered.text, shield=rendered.shield)

    harmless = read("user", "ice")
    # what the template does not write is a control token only where the file calls it one
    markers = {*model.controls.values()} | ({*ids} & {*harmless})
    written = [token for token in harmless if token in markers]

    @how
    @given(st.sampled_from(ROLES), PIECES)
    @example("system", "".join(CONTROLS))
    @example("user", "".join(CONTROLS))
    @example("assistant", "".join(CONTROLS))
    def ask(role, content):
        filled = fill("{{ x }}", {"x": content})
        if filled.strip():
            tried.append(filled)
            assert [token for token in read(role, filled) if token in markers] == written

    ask()


@pytest.mark.parametrize("count", [30, LONG])
def test_no_text_makes_a_control_token(tmp_path, figure, count):
    tried = []
    kinds = list(itertools.product(TEMPLATES.items(), (metadata, byte_level), (CONTROL, USER_DEFINED)))
    for (name, template), vocabulary, kind in kinds:
        model, ids = model_with(tmp_path / f"{name}.gguf", vocabulary(), template, kind)
        inject(model, ids, examples(count), tried)
        model.close()
    figure(
        "Forged control tokens",
        f"{len(tried)} texts in every role against {len(TEMPLATES)} templates, each with two kinds of vocabulary and of "
        "marker: none made one",
    )


BODIES = {
    "letters": "a",
    "blanks": " ",
    "line breaks": "\n",
    "emoji": "\U0001f3d2",
    "accents": "é",
    "lone surrogates": "\ud800",
    "NUL": "\0",
    "control tokens": "".join(CONTROLS),
    "byte tokens": "<0x0A>",
    "variables": "{{ x }}",
    "open braces": "{{",
    "open blocks": "{% if x %}",
    "open comments": "{#",
}
WAYS = {
    "prompt": lambda shell, body: Phi(model=str(DEMO), max_tokens=2)(body),
    "raw": lambda shell, body: Phi(model=str(DEMO), max_tokens=2)(body, raw=True),
    "cell": lambda shell, body: shell.run_cell_magic("phi", f"--quiet -n 2 --model {DEMO}", body),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("body", BODIES)
def test_a_body_of_ten_megabytes_is_one_line(shell, figure, body, way):
    shell.run_line_magic("load_ext", "phi_magic")
    shell.user_ns["x"] = "ice"
    size = len(BODIES[body].encode("utf-8", "replace"))
    assert one_line(lambda: WAYS[way](shell, BODIES[body] * (10_000_000 // size)))
    figure("Bodies of 10 MB", f"{', '.join(BODIES)}, as a prompt, raw and in a cell: one line each")
