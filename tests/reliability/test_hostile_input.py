"""Generated option lines, templates and prompts: an answer, or one line that says what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from IPython.core.error import UsageError

from phi_magic import Phi, PhiError
from phi_magic.engine.engine import shared
from phi_magic.engine.model import Model
from phi_magic.options import ASKING, CELL
from phi_magic.prompt import render
from tests.gguf_files import gguf, metadata, tensors
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
        st.sampled_from([*CONTROLS, "{{", "}}", "{%", "%}", "{#", "\n", " " * 300, "ice", "e\u0301" * 9]), UNICODE
    ),
    max_size=12,
).map("".join)
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
    """Whatever it does, it is done, or refused in one printable line."""
    said = ""
    try:
        act()
    except (PhiError, UsageError) as error:
        said = str(error)
    assert len(said.splitlines()) <= 1, said
    return bool(said)


@pytest.mark.parametrize("count", [60, LONG])
@pytest.mark.filterwarnings("ignore")
def test_any_option_line_and_body_is_answered_or_refused(shell, figure, count):
    shell.run_line_magic("load_ext", "phi_magic")
    shell.run_line_magic("config", f"Phi.model = {str(DEMO)!r}")
    refused = []

    @examples(count)
    @given(LINES, PIECES, st.booleans())
    def ask(line, body, in_a_cell):
        line = f"--quiet --max-tokens 2 {line}".replace("--no-stream", "").partition("\n")[0]
        if in_a_cell:
            refused.append(one_line(lambda: shell.run_cell_magic("phi", line, body)))
        else:
            refused.append(one_line(lambda: shell.run_line_magic("phi", f"{line} {body}")))

    ask()
    figure(
        "Generated option lines, templates over variables, and prompts",
        f"{len(refused)}: {len(refused) - sum(refused)} answered, {sum(refused)} refused in one line each",
    )


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


def inject(model, how, tried):
    """Whatever is asked, the prompt has just the control tokens that its template writes."""

    def controls(content):
        asked = [{"role": "user", "content": content}]
        rendered = render(asked, template=model.chat_template, controls=model.controls, bos="<s>", eos="</s>")
        ids = model.tokenize(rendered.text, shield=rendered.shield)
        return [token for token in ids if token in model.controls.values()]

    harmless = controls("ice")

    @how
    @given(PIECES)
    def ask(content):
        if content.strip():
            tried.append(content)
            assert controls(content) == harmless

    ask()


@pytest.mark.parametrize("count", [30, LONG])
def test_no_text_makes_a_control_token(tmp_path, figure, count):
    tried = []
    for name, template in TEMPLATES.items():
        said = metadata()
        tokens, types = list(said["tokenizer.ggml.tokens"]), list(said["tokenizer.ggml.token_type"])
        for text in CONTROLS:
            if text not in tokens and text != "▁":
                tokens.append(text)
                types.append(3)  # control
        said |= {
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": types,
            "tokenizer.chat_template": template,
        }
        said["tokenizer.ggml.scores"] = [0.0] * len(tokens)
        path = tmp_path / f"{name}.gguf"
        table = [
            (name, (shape[0], len(tokens)) if "token_embd" in name or name == "output.weight" else shape, kind)
            for name, shape, kind in tensors()
        ]
        path.write_bytes(gguf(said, table))
        model = Model(path)

        inject(model, examples(count), tried)
        model.close()
    figure("Forged control tokens", f"{len(tried)} texts against {len(TEMPLATES)} templates: none made one")


@pytest.mark.parametrize("character", ["a", " ", "\n", "\U0001f3d2", "\ud800", "\0", "é"])
def test_a_body_of_ten_megabytes_is_one_line(character, figure):
    phi = Phi(model=str(DEMO), max_tokens=2)
    try:
        with pytest.raises(PhiError, match=r"tokens, the context|prompt is empty"):
            phi(character * (10_000_000 // len(character.encode("utf-8", "replace"))))
    finally:
        shared.unload()
    figure("Bodies of 10 MB", "letters, blanks, line breaks, emoji, lone surrogates, NUL: one line each")
