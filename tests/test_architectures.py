"""Other architectures than Phi's, as stand-ins with random weights: each answers, and keeps the promise."""

from contextlib import closing

import pytest

from phi_magic import Phi, PhiError
from phi_magic.engine.engine import Engine
from phi_magic.engine.model import Model
from phi_magic.engine.plan import choose
from phi_magic.exactness import probe
from phi_magic.gguf.checks import read_header
from tests.architectures import ARCHITECTURES, MAMBA, WORDS, write

TEXT = "ice 🏒 é, 日本 and ü"  # every character in it is more than one token
LONG = " ".join(WORDS * 16)  # longer than the sliding windows


@pytest.fixture(scope="module", params=ARCHITECTURES)
def path(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("architecture") / "model.gguf"
    write(path, ARCHITECTURES[request.param])
    return path


@pytest.fixture
def phi(path):
    phi = Phi(model=str(path), seed=1, max_tokens=12)
    phi.backend = Engine()
    yield phi
    phi.unload()


def test_characters_are_streamed_whole(phi, path):
    with closing(Model(path)) as model:
        ids = model.tokens_within(TEXT)
    stream = phi.stream("ice", begin=ids, max_tokens=len(ids))
    pieces = list(stream)
    assert "".join(pieces) == stream.reply.text == TEXT
    assert not [piece for piece in pieces if "\ufffd" in piece]


def test_an_answer_can_be_interrupted_and_asked_for_again(phi, path):
    with closing(Model(path)) as model:
        begin = model.tokens_within("ice puck")  # so that there is some text to wait for
    whole = phi(LONG, begin=begin, max_tokens=40)
    stream = phi.stream(LONG, begin=begin, max_tokens=40)
    for _ in stream:
        stream.stop()
    assert stream.reply.finish_reason == "interrupted"
    assert len(stream.reply.tokens) < len(whole.tokens)
    assert phi(LONG, begin=begin, max_tokens=40).tokens == whole.tokens


def test_answers_do_not_depend_on_what_was_asked_before_or_beside(phi):
    prompts = ["ice", LONG, f"{LONG} ice", LONG[: len(LONG) // 2] + " puck", "ice"]
    alone = []
    for prompt in prompts:
        phi.unload()
        alone.append(phi(prompt).tokens)
    phi.unload()
    assert [phi(prompt).tokens for prompt in [*prompts, *prompts]] == [*alone, *alone]
    together = phi.map(prompts, progress=False)
    for prompt, reply in zip(prompts, together, strict=True):
        phi.unload()
        assert phi.map([prompt], progress=False)[0].tokens == reply.tokens


def test_the_probe_finds_the_promise_kept(path):
    with closing(Model(path)) as model:
        assert [line for line, holds in probe(model, choose(read_header(path))) if not holds] == []


def test_an_architecture_that_keeps_a_state_is_refused_by_name(tmp_path):
    write(tmp_path / "mamba.gguf", MAMBA)
    with pytest.raises(PhiError, match=r"mamba.gguf keeps a state .* cannot go back to an earlier turn; use"):
        Model(tmp_path / "mamba.gguf")
