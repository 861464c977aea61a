"""A model with two sets of RoPE factors answers as in a fresh process, whatever was asked before or at the same time."""

import random

import pytest

from phi_magic import Phi
from phi_magic.conversation import forget
from phi_magic.engine.engine import Engine
from phi_magic.recorded import Recorded
from phi_magic.replay import replay
from tests.architectures import ARCHITECTURES, BORDER, WORDS, write


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.gguf"
    write(path, ARCHITECTURES["phi3"], border=BORDER)
    return path


@pytest.fixture
def phi(path):
    phi = Phi(model=str(path), seed=1, max_tokens=16)
    yield phi
    phi.unload()
    forget()


def text(words, seed=0):
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(words))


def fresh(phi, prompt, **options):
    """What a process that was asked nothing else answers."""
    phi.unload()
    return phi(prompt, **options)


SHORT, LONG = text(20), text(600, 9)


def test_the_reply_says_which_factors_applied(phi):
    assert phi(SHORT).engine["rope"] == "short"
    assert phi(LONG).engine["rope"] == "long"
    assert phi(SHORT, max_tokens=BORDER).engine["rope"] == "long"  # there must be room for the longest answer
    assert "rope" not in phi(SHORT, model="demo").engine


@pytest.mark.parametrize("seed", range(2))
def test_one_after_another_in_any_order(phi, seed):
    asks = [(SHORT, 16), (LONG, 16), (SHORT, BORDER), (text(200), 16), (text(200), 400), (LONG + " a puck", 16)]
    wanted = [fresh(phi, prompt, max_tokens=most).tokens for prompt, most in asks]
    assert wanted[0] != wanted[2][:16]  # the factors matter
    phi.unload()
    for at in random.Random(seed).choices(range(len(asks)), k=15):
        prompt, most = asks[at]
        assert phi(prompt, max_tokens=most).tokens == wanted[at]


def test_a_conversation_that_grows_across_the_border(phi):
    chat, replies = phi.chat("growing"), []
    for turn in range(8):
        replies.append(chat(text(60, turn)))
        phi(text(70, 100 + turn), max_tokens=BORDER * (turn % 2) + 1)  # another question between the turns
    assert {reply.engine["rope"] for reply in replies} == {"short", "long"}
    for reply in replies:
        messages = [*reply.messages, {"role": "user", "content": reply.prompt}]
        assert fresh(phi, messages).tokens == reply.tokens


@pytest.mark.parametrize("seed", range(2))
def test_the_answers_of_a_map_are_what_each_is_alone(phi, seed):
    prompts = [SHORT, LONG, text(100), text(700, 1), text(300), text(50, 2)]
    random.Random(seed).shuffle(prompts)
    together = phi.map(prompts, progress=False)
    assert {reply.engine["rope"] for reply in together} == {"short", "long"}
    assert [reply.prompt for reply in together] == prompts
    for reply in together:
        phi.unload()
        alone = phi.map([reply.prompt], progress=False)[0]
        assert alone.tokens == reply.tokens
        assert alone.engine == reply.engine


def test_the_answers_of_a_sweep_are_what_each_is_alone(phi):
    grid = [{"max_tokens": most, "seed": seed} for most in (8, BORDER + 8) for seed in (1, 2)]
    stream = phi.stream_all([(SHORT, options) for options in grid])
    stream.run()
    assert [reply.engine["rope"] for reply in stream.replies] == ["short", "short", "long", "long"]
    for options, reply in zip(grid, stream.replies, strict=True):
        phi.unload()
        alone = phi.stream_all([(SHORT, options)])
        alone.run()
        assert alone.replies[0].tokens == reply.tokens


@pytest.mark.parametrize("most", [16, BORDER])
def test_a_branch_goes_on_as_the_answer_would(phi, most):
    whole = phi(SHORT, max_tokens=most)
    phi(SHORT, max_tokens=BORDER + 16 - most)  # of the other side
    branch = phi.stream(SHORT, max_tokens=most, known=whole.tokens[:6], begin=[whole.tokens[6].id])
    branch.run()
    assert branch.reply.tokens == whole.tokens


def test_a_position_in_an_answer_has_the_factors_of_the_answer(phi):
    ids = [token.id for token in phi(SHORT).tokens[:5]]
    wanted = phi.look(SHORT, ids).logits
    other = phi.look(SHORT, ids, max_tokens=BORDER).logits
    assert (wanted != other).any()
    assert (phi.look(SHORT, ids).logits == wanted).all()


def test_saved_kv_states_of_the_other_side_are_not_used(phi):
    phi(text(300), max_tokens=16)
    phi(LONG, max_tokens=16)
    again = phi(text(300), max_tokens=16)
    assert again.usage.cached_tokens > 200  # read before the long question, and saved meanwhile
    across = phi(text(300), max_tokens=400)
    assert across.usage.cached_tokens == 0
    assert across.tokens == fresh(phi, text(300), max_tokens=400).tokens


def test_without_exactness_the_factors_are_not_mixed_either(phi):
    phi(text(300), exact=False)
    across = phi(text(300), max_tokens=400, exact=False)
    assert across.usage.cached_tokens == 0
    assert across.tokens == fresh(phi, text(300), max_tokens=400, exact=False).tokens


@pytest.mark.parametrize("prompt", [SHORT, LONG])
def test_replay_gives_the_answer_again(phi, prompt):
    reply = phi(prompt)
    phi(LONG if prompt == SHORT else SHORT)
    assert replay(phi, Recorded.of(reply, "here")).same


@pytest.mark.parametrize("together", [False, True])
def test_replay_of_an_interrupted_answer_has_the_factors_of_its_room(phi, together):
    phi.backend = Engine()  # in this process it writes no further than it is read
    options = {"max_tokens": BORDER}
    stream = phi.stream_all([(SHORT, options)]) if together else phi.stream(SHORT, **options)
    [reply] = stream.replies if together else [stream.reply]
    with stream.in_order():
        for _ in stream:
            if len(reply.tokens) >= 5:
                stream.stop()
    assert (reply.finish_reason, reply.engine["rope"]) == ("interrupted", "long")
    outcome = replay(phi, Recorded.of(reply, "here"))
    assert outcome.same
    assert not [note for note in outcome.notes if "RoPE" in note]
    assert outcome.reply.tokens == reply.tokens


def test_replay_says_that_other_factors_applied(phi):
    reply = phi(SHORT)
    reply.engine["rope"] = "long"
    assert "made with the RoPE factors 'long', here 'short'" in replay(phi, Recorded.of(reply, "here")).notes
