"""Given texts at a vLLM, as a fake that cuts texts into characters and answers in vLLM's documented forms."""

import math

import pytest

from phi_magic import Phi, PhiError
from phi_magic.draws import random_number
from tests.openai_server import OpenAIServer

USER, ASSISTANT, END = 300, 301, 302
#: What comes next, after any text.
CHANCES = {ord("y"): 0.5, ord("n"): 0.25, END: 0.125, ord("o"): 0.125}


def tokens(body):
    if "prompt" in body:
        return {"count": 0, "max_model_len": 4096, "tokens": list(map(ord, body["prompt"]))}
    found = []
    for message in body["messages"]:
        found += [USER if message["role"] == "user" else ASSISTANT, *map(ord, message["content"]), END]
    if body.get("continue_final_message"):
        found.pop()
    elif body["add_generation_prompt"]:
        found.append(ASSISTANT)
    return {"count": len(found), "max_model_len": 4096, "tokens": found, "token_strs": None}


def text(body):
    return {"prompt": "".join(map(chr, body["tokens"]))}


def likely(token, most):
    ranked = sorted(CHANCES, key=CHANCES.get, reverse=True)
    told = {one: CHANCES[one] for one in ranked[:most]} | {token: CHANCES.get(token, 1e-9)}
    return {
        str(one): {
            "logprob": math.log(chance),
            "rank": 1 + sum(other > chance for other in CHANCES.values()),
            "decoded_token": chr(one),
        }
        for one, chance in told.items()
    }


def completion(body):
    told = [None, *(likely(token, body["prompt_logprobs"]) for token in body["prompt"][1:])]
    choice = {"index": 0, "text": "y", "logprobs": None, "finish_reason": "length", "prompt_logprobs": told}
    return {"object": "text_completion", "choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}


@pytest.fixture
def server():
    with OpenAIServer("vLLM") as server:
        server.paths |= {"/tokenize": tokens, "/detokenize": text, "/v1/completions": completion}
        yield server
        server.shutdown()


@pytest.fixture
def phi(server):
    return Phi(model=server.url, seed=1, temperature=1)


@pytest.mark.parametrize("raw", [False, True])
def test_a_given_text_is_scored(phi, raw):
    reply = phi.score("Well?", "no", top_logprobs=2, raw=raw)
    assert [(token.text, token.rank) for token in reply.tokens] == [("n", 2), ("o", 3)]
    assert reply.logprob == pytest.approx(math.log(0.25 * 0.125))
    assert [other.text for other in reply.tokens[0].top] == ["y", "n"]
    assert reply.text == "no"
    assert reply.usage.prompt_tokens == (5 if raw else 8)


def test_a_thought_that_the_template_writes_before_an_answer_is_not_taken_for_a_part_of_it(phi, server):
    def thoughtful(body):
        for message in body["messages"]:
            if message["role"] == "assistant":
                message["content"] = "<think>\n\n</think>\n\n" + message["content"]
        return tokens(body)

    server.paths["/tokenize"] = thoughtful
    with pytest.raises(PhiError, match=r"writes '<think>\\n\\n</think>' before an answer.*--raw"):
        phi.score("Well?", "no")
    assert set(phi("Well?", choices=["y", "no"]).choices) == {"y", "no"}


def test_what_it_sends_for_minus_infinity_is_impossible(phi, server):
    def never(body):
        said = completion(body)
        for told in said["choices"][0]["prompt_logprobs"][1:]:
            told[str(ord("o"))] = {"logprob": -9999.0, "rank": 400, "decoded_token": "o"}
        return said

    server.paths["/v1/completions"] = never
    assert phi.score("Well?", "no").tokens[1].logprob == -math.inf
    assert phi("Well?", choices=["y", "no"]).choices == {"y": 1, "no": 0}
    with pytest.raises(PhiError, match="gives no choice a probability above 0"):
        phi("Well?", choices=["o", "no"])


def test_choices_have_their_probabilities_as_whole_answers(phi):
    reply = phi("Well?", choices=["y", "no"])
    yes, no = 0.5 * 0.125, 0.25 * 0.125 * 0.125
    assert reply.choices == pytest.approx({"y": yes / (yes + no), "no": no / (yes + no)})
    assert reply.text in reply.choices
    assert reply.text == "".join(token.text for token in reply.tokens)


def test_they_are_drawn_by_the_seed_in_a_map_too(phi):
    texts = [reply.text for reply in phi.map(["Well?"] * 3, choices=["n", "y"], seed=[1, 2, 1], progress=False)]
    numbers = [random_number(seed, 0) for seed in (1, 2, 1)]
    assert texts == ["y" if number < 2 / 3 else "n" for number in numbers]  # the likeliest comes first
    assert phi("Well?", choices=["n", "y"], temperature=0).text == "y"


def test_choices_need_a_chat_template(phi):
    with pytest.raises(PhiError, match="takes an answer's end from its chat template: leave out --raw"):
        phi("Well?", choices=["y", "n"], raw=True)


@pytest.mark.parametrize(
    ("path", "said", "says"),
    [
        ("/tokenize", {"tokens": None}, "sends what is no answer to /tokenize"),
        ("/tokenize", lambda body: {"tokens": [len(str(body))]}, "its chat template changes it"),
        ("/v1/completions", {"choices": []}, "sends what is no answer to /completions"),
        ("/v1/completions", {"choices": [{"text": "y"}]}, "sends what is no answer to /completions"),
        ("/v1/completions", {"choices": [{"prompt_logprobs": [None]}]}, "does not tell how likely the tokens"),
        (
            "/v1/completions",
            lambda body: {"choices": [{"prompt_logprobs": [{"7": {"logprob": -1}}] * len(body["prompt"])}]},
            "does not tell how likely the tokens",
        ),
    ],
)
def test_what_a_server_may_say_wrong_is_one_line(phi, server, path, said, says):
    server.paths[path] = said
    for ask in (lambda: phi.score("Well?", "no"), lambda: phi("Well?", choices=["y", "no"])):
        with pytest.raises(PhiError, match=says):
            ask()
