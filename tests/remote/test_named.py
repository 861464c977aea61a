"""Looking at the next token on servers that name tokens by their texts."""

import pytest

from phi_magic import PhiError
from phi_magic.widgets.explorer import Explorer
from tests.openai_server import chunk


def one(*likely):
    """An answer of one token, with the likeliest ones."""
    piece = chunk(likely[0][0])
    top = [{"token": token, "logprob": logprob} for token, logprob in likely]
    piece["choices"][0]["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    return [piece, chunk(finish="length"), "[DONE]"]


FIRST = one(("Ice", -0.5), ("The", -1.5), ("<|end|>", -3.0))
SECOND = one((" cold", -0.25), ("Ice", -2.0))


def test_a_position_has_the_tokens_that_the_server_gives(phi, server):
    server.replies = [FIRST]
    position = phi.look("Ice?")
    assert (position.told, position.names, position.ends) == (3, ["Ice", "The", "<|end|>"], {2})
    assert position.logits.tolist() == [-0.5, -1.5, -3.0]
    body = server.asked[-1][1]
    assert (body["max_tokens"], body["temperature"], body["top_p"], body["repetition_penalty"]) == (1, 1, 1, 1)


@pytest.mark.parametrize("dialect", ["vLLM", "Ollama"])
def test_the_next_one_begins_with_what_was_taken(served, dialect):
    server, phi = served(dialect)
    server.replies = [FIRST, SECOND]
    first = phi.look("Ice?")
    second = phi.look("Ice?", [0], before=first)
    assert second.names == ["Ice", "The", "<|end|>", " cold"]
    assert second.logits.tolist() == [-2.0, -float("inf"), -float("inf"), -0.25]
    body = server.asked[-1][1]
    assert body["messages"][-1] == {"role": "assistant", "content": "Ice"}
    assert body.get("continue_final_message", False) is (dialect == "vLLM")


def test_a_raw_prompt_goes_on_as_text(phi, server):
    server.replies = [FIRST, SECOND]
    phi.look("Ice?", [0], raw=True, before=phi.look("Ice?", raw=True))
    path, body = server.asked[-1]
    assert (path, body["prompt"]) == ("/v1/completions", "Ice?Ice")


def test_the_explorer_steps_through_an_answer_and_says_how_much_it_sees(phi, server):
    server.replies = [FIRST, SECOND]
    explorer = Explorer(phi, "Ice?")
    explorer.begin()
    explorer.wait()
    assert "the server tells the 3 likeliest tokens" in explorer.status.widget.value
    explorer.likeliest()
    explorer.wait()
    assert "step 2" in explorer.status.widget.value
    assert "the server tells the 2 likeliest tokens" in explorer.status.widget.value
    explorer.close()


def test_it_opens_on_an_answer_too(phi, server):
    server.replies = [FIRST]
    reply = phi("Ice?", top_logprobs=3)
    explorer = Explorer.of(reply)
    explorer.begin()
    explorer.wait()
    assert explorer.columns[0].walk.position.names == ["Ice", "The", "<|end|>"]
    explorer.close()


def test_what_cannot_be_looked_at_is_one_line(served):
    _, phi = served("LM Studio")
    with pytest.raises(PhiError, match="LM Studio gives no log-probabilities"):
        phi.look("Ice?")
    _, phi = served("vLLM")
    with pytest.raises(PhiError, match="vLLM gave no log-probabilities"):
        phi.look("Ice?")
    server, phi = served("unknown")
    server.replies = [FIRST]
    first = phi.look("Ice?")
    with pytest.raises(PhiError, match="cannot go on within an answer of a conversation: with --raw it can"):
        phi.look("Ice?", [0], before=first)
    with pytest.raises(PhiError, match="takes no token ids: begin at the first step"):
        phi.look("Ice?", [7], before=first)
