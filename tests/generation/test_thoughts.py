"""What a reasoning model thinks is parted from what it answers, however its text is cut."""

import itertools
import json
import subprocess
import sys
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.completer import provisionalcompleter

from phi_magic import Phi, Reply
from phi_magic.conversation import forget
from phi_magic.engine.engine import Engine
from phi_magic.generation.thoughts import TAGS, Thoughts
from phi_magic.recorded import Recorded
from phi_magic.replay import replay
from tests.thinking_model import write_thinking_model

DEMO = files("phi_magic") / "demo" / "phi-demo.gguf"
SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer", "maximum": 99, "minimum": 0}},
    "required": ["age"],
}
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}<|assistant|>\n"
    "{% if '</think>' == '' %}{% endif %}"
)
BEGUN = TEMPLATE + "<think>\n"

CASES = [
    ("<think>Hm.</think>\n\nFive.", "Hm.", "Five."),
    ("  <think>\nHm.\n</think>Five.", "Hm.", "Five."),
    ("Five.", "", "Five."),
    ("A <think>tag</think> in the text", "", "A <think>tag</think> in the text"),
    ("<think>Hm.</think>It writes <think> and </think>.", "Hm.", "It writes <think> and </think>."),
    ("<think>The tag <think> opens.</think>Five.", "The tag <think> opens.", "Five."),
    ("<think>a<think>b</think>c</think>d", "a<think>b", "c</think>d"),
    ("<think>Hm,\n\nfive. \n</think>\nFive.\n", "Hm,\n\nfive.", "Five.\n"),
    ("<think>never closed", "never closed", ""),
    ("<think></think>Five.", "", "Five."),
    ("<thin air", "", "<thin air"),
    ("<think>2 < 3 </ 4</think>5", "2 < 3 </ 4", "5"),
    ("", "", ""),
]


def parted(pieces, **options):
    thoughts = Thoughts(**options)
    found = [thoughts.split(piece) for piece in pieces] + [thoughts.split("", last=True)]
    return tuple("".join(part) for part in zip(*found, strict=True))


@pytest.mark.parametrize(("text", "thought", "answer"), CASES)
def test_in_one_piece_and_letter_by_letter(text, thought, answer):
    assert parted([text]) == parted(text) == (thought, answer)


@given(st.sampled_from(CASES), st.lists(st.integers(0, 60), max_size=8))
def test_however_it_is_cut(case, cuts):
    text, thought, answer = case
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[start:end] for start, end in itertools.pairwise(places)]
    assert parted(pieces) == (thought, answer)


def test_thoughts_that_the_prompt_has_begun():
    assert parted(["Hm.</th", "ink>\nFive."], begun=True) == ("Hm.", "Five.")


@pytest.mark.parametrize("tags", TAGS, ids=lambda tags: tags.opening.strip())
def test_every_pair_of_tags(tags):
    text = f"{tags.opening}Hm.{tags.closing}\nFive."
    assert parted(text, tags=tags) == parted([text], tags=tags) == ("Hm.", "Five.")
    assert parted(f"{tags.answer}Five.", tags=tags) == ("", "Five.")
    assert parted(text.removeprefix(tags.opening), tags=tags, begun=True) == ("Hm.", "Five.")


def test_nothing_that_may_be_a_tag_is_shown_too_early():
    thoughts = Thoughts()
    assert thoughts.split("<thi") == ("", "")
    assert thoughts.split("nk>Hm") == ("Hm", "")
    assert thoughts.split(".</") == (".", "")
    assert thoughts.split("think>Five") == ("", "Five")


def write(path, template):
    """The demo model with another chat template."""
    command = [sys.executable, "-m", "gguf.scripts.gguf_new_metadata", "--force", "--chat-template", template]
    subprocess.run([*command, str(DEMO), str(path)], check=True, capture_output=True)
    return str(path)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A model whose prompt begins the thoughts; it never closes them."""
    return write(tmp_path_factory.mktemp("think") / "begun.gguf", BEGUN)


@pytest.fixture(scope="module")
def may_think(tmp_path_factory):
    """A model that may think, and does not."""
    return write(tmp_path_factory.mktemp("think") / "may.gguf", TEMPLATE)


@pytest.fixture(params=["worker", "engine"])
def phi(request):
    phi = Phi(seed=1, max_tokens=12, max_reasoning=9, repeat_penalty=1)
    if request.param == "engine":
        phi.backend = Engine()
    yield phi
    phi.unload()
    forget()


HAIKU = "Write a haiku about ice hockey"


def test_thoughts_are_bounded_and_the_answer_has_its_own_room(phi, begun):
    reply = phi(HAIKU, model=begun, max_tokens=5)
    assert reply.reasoning
    assert "think>" not in reply.reasoning + reply.text
    written = [token.text for token in reply.tokens[: reply.usage.reasoning_tokens]]
    assert "</think>" in "".join(written)
    assert "</think>" not in "".join(written[:-1])
    assert "".join(written[:9]).endswith(reply.reasoning[-4:])  # as many as it may, then the tag
    assert reply.finish_reason in {"stop", "length"}
    if reply.finish_reason == "length":
        assert reply.usage.completion_tokens - reply.usage.reasoning_tokens >= 5
    assert reply.thought().startswith(f"thought for {reply.usage.reasoning_tokens} tokens, ")
    assert reply.thought() in reply.stats()
    assert len(reply.tokens) == reply.usage.completion_tokens  # both parts have their records
    assert Reply.from_dict(reply.to_dict() | {"text": reply.text}).reasoning == reply.reasoning


def test_a_model_that_does_not_think_answers_as_any_other(phi, may_think):
    reply = phi(HAIKU, model=may_think)
    assert reply.reasoning == ""
    assert reply.text == phi(HAIKU, model="demo").text


def test_in_a_map_too(phi, begun):
    prompts = [HAIKU, "Write a haiku about snow", "Write a haiku about tea"]
    together = phi.map(prompts, model=begun, progress=False)
    alone = [phi.map([prompt], model=begun, progress=False)[0] for prompt in prompts]
    assert [(reply.reasoning, reply.text) for reply in together] == [(reply.reasoning, reply.text) for reply in alone]
    assert all(reply.reasoning for reply in together)


def test_a_schema_applies_after_the_thoughts(phi, begun):
    reply = phi("How old?", model=begun, schema=SCHEMA, max_tokens=40)
    assert reply.reasoning
    assert reply.data is not None
    assert json.loads(reply.text) == reply.data


def test_a_stop_text_is_one_of_the_answer(phi, begun):
    thought = phi(HAIKU, model=begun).reasoning
    stop = thought.split()[1]
    assert phi(HAIKU, model=begun, stop=[stop]).reasoning == thought


def test_replay_gives_both_again(phi, begun):
    reply = phi(HAIKU, model=begun)
    outcome = replay(Phi(), Recorded.of(reply, "here"))
    assert outcome.same
    assert outcome.reply.reasoning == reply.reasoning


def test_the_history_has_no_thoughts(begun):
    phi = Phi(model=begun, seed=1, max_tokens=8, max_reasoning=6)
    chat = phi.chat("trip")
    first = chat("Write a haiku about snow")
    second = chat("And about tea")
    assert first.reasoning
    assert [message["content"] for message in second.messages] == ["Write a haiku about snow", first.text]
    forget()


def test_it_streams_with_empty_pieces_while_it_thinks(begun):
    stream = Phi(model=begun, seed=1, max_tokens=8, max_reasoning=6).stream(HAIKU)
    seen = [(piece, len(stream.reply.reasoning)) for piece in stream]
    assert any(not piece and length for piece, length in seen)
    assert "".join(piece for piece, _ in seen) == stream.reply.text


class TestCells:
    @pytest.fixture
    def ip(self, shell):
        shell.kernel = None  # a notebook's
        shell.run_line_magic("load_ext", "phi_magic")
        yield shell
        del shell.kernel

    def test_the_thoughts_stand_folded_above_the_answer(self, ip, begun):
        ip.run_cell_magic("phi", f"-m {begun} --seed 1 -n 8 --max-reasoning 6 -o answer", HAIKU)
        answer = ip.user_ns["answer"]
        outputs = [output["data"] for output in ip.display_pub.outputs]
        shown = next(data for data in reversed(outputs) if "<details" in data.get("text/html", ""))
        assert "<details>" in shown["text/html"]
        assert "<summary" in shown["text/html"]
        assert answer.thought() in shown["text/html"]
        assert answer.reasoning not in shown["text/plain"]

    @pytest.mark.parametrize(
        ("options", "text"), [("", "Five!"), ("--schema schema", '"Five!"'), ("--choices Six!,Five!", "Five!")]
    )
    def test_they_stream_before_the_answer(self, ip, tmp_path, options, text):
        model = write_thinking_model(tmp_path / "thinking.gguf")
        ip.user_ns["schema"] = {"const": "Five!"}
        ip.run_cell_magic("phi", f"-m {model} --seed 1 {options} -o answer", "How many?")
        assert ip.user_ns["answer"].text == text
        shown = [
            output["data"] for output in ip.display_pub.outputs if "<details" in output["data"].get("text/html", "")
        ]
        assert shown[0]["text/plain"] == ""
        assert "<details open>" in shown[0]["text/html"]
        assert "<details open>" not in shown[-1]["text/html"]
        assert "Hm" in shown[0]["text/html"]
        assert shown[-1]["text/plain"] == text
        assert "Hm, five." in shown[-1]["text/html"]

    def test_tab_offers_the_option(self, ip):
        with provisionalcompleter():
            line = "%%phi --max-r"
            assert "--max-reasoning" in [found.text for found in ip.Completer.completions(line, len(line))]
