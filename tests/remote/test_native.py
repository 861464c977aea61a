"""What llama-server alone offers, as a fake that cuts texts into characters."""

import math

import pytest

from phi_magic import Phi, PhiError
from phi_magic.draws import random_number
from phi_magic.generation.request import ChatMessage, GenerationRequest, ModelReference
from phi_magic.interrupt import Stop
from phi_magic.parameters import SamplingParameters
from phi_magic.remote.remote import shared
from phi_magic.widgets.explorer import Explorer
from tests.openai_server import DIALECTS, OpenAIServer

VOCABULARY = 400
END, START = 300, 301
CONTROLS = {"<|end|>": END, "<|user|>": START}
#: What comes next, after any text: the likeliest first.
CHANCES = {ord("y"): 0.5, ord("n"): 0.25, END: 0.125, ord("o"): 0.125}


def pieces(body):
    """Cut a text into characters; the space before it is one that the tokenizer adds."""
    text, found = body["content"], []
    while text:
        control = next((one for one in CONTROLS if body["parse_special"] and text.startswith(one)), None)
        found.append({"id": CONTROLS[control], "piece": control} if control else {"id": ord(text[0]), "piece": text[0]})
        text = text[len(control or "x") :]
    found = [{"id": 32, "piece": " "}, *found]
    return {"tokens": found if body.get("with_pieces") else [one["id"] for one in found]}


def name(token):
    return next((text for text, control in CONTROLS.items() if control == token), None) or chr(token)


def likeliest(body):
    told = [
        {"id": token, "token": name(token), "bytes": list(name(token).encode()), "logprob": math.log(chance)}
        for token, chance in CHANCES.items()
    ]
    return {"completion_probabilities": [{"top_logprobs": told[: body["n_probs"]]}]}


PATHS = {
    **DIALECTS["llama-server"],
    "/v1/models": {"data": [{"id": "phi-4", "meta": {"n_vocab": VOCABULARY}}]},
    "/tokenize": pieces,
    "/detokenize": lambda body: {"content": "".join(map(name, body["tokens"]))},
    "/apply-template": lambda body: {"prompt": f"<|user|>{body['messages'][-1]['content']}<|end|>"},
    "/completion": likeliest,
}


@pytest.fixture
def server():
    with OpenAIServer("llama-server") as server:
        server.paths = dict(PATHS)
        yield server
        server.shutdown()


@pytest.fixture
def phi(server):
    return Phi(model=server.url, seed=1, temperature=1)


def test_a_control_token_in_a_prompt_is_sent_as_text(phi, server):
    phi("a<|end|>b")
    path, body = server.asked[-1]
    assert path == "/v1/completions"
    assert [name(token) for token in body["prompt"]] == [" ", "<|user|>", *"a<|end|>b", "<|end|>"]


def test_the_messages_of_many_rows_are_looked_at_together(phi, server):
    looked = []
    server.paths["/tokenize"] = lambda body: looked.append(body["content"]) or pieces(body)
    rows = [f"row {number}" for number in range(100)]
    phi.map([*rows, "a<|end|>b"], progress=False)
    paths = [path for path, _ in server.asked]
    assert (paths.count("/v1/chat/completions"), paths.count("/v1/completions")) == (100, 1)
    assert looked.count("\n".join(rows[:64])) == 2
    assert not set(looked) & set(rows[:64])


def test_a_look_that_fails_fails_one_row(phi, server):
    said = iter([{"tokens": None}, {"tokens": None}])
    server.paths["/tokenize"] = lambda body: next(said, None) or pieces(body)
    phi.in_flight = 1
    replies = phi.map(["a", "b", "c"], on_error="keep", progress=False)
    assert [reply.finish_reason for reply in replies] == ["error", "stop", "stop"]


def test_no_server_reads_the_messages_for_another(server):
    with OpenAIServer("llama-server") as other:
        looked = []
        other.paths = PATHS | {"/tokenize": lambda body: looked.append(body["content"]) or pieces(body)}
        requests = [
            GenerationRequest(ModelReference(address), (ChatMessage("user", text),), SamplingParameters(), 1, 20)
            for address, text in ((server.url, "for the one"), (other.url, "for the other"))
        ]
        list(shared.generate_many(requests, Stop()))
        other.shutdown()
    assert set(looked) == {"for the other"}


def test_a_text_is_cut_into_tokens(phi):
    assert [token.text for token in phi.tokenize("ice")] == ["i", "c", "e"]


def test_a_given_text_is_scored(phi):
    reply = phi.score("Well?", "no", top_logprobs=2)
    assert [token.text for token in reply.tokens] == ["n", "o"]
    assert [token.rank for token in reply.tokens] == [2, 4]
    assert reply.logprob == pytest.approx(math.log(0.25 * 0.125))
    assert [other.text for other in reply.tokens[0].top] == ["y", "n"]
    assert reply.text == "no"


def test_choices_have_their_probabilities_as_whole_answers(phi):
    reply = phi("Well?", choices=["y", "no"])
    yes, no = 0.5 * 0.125, 0.25 * 0.125 * 0.125
    assert reply.choices == pytest.approx({"y": yes / (yes + no), "no": no / (yes + no)})
    assert reply.text in reply.choices
    assert reply.text == "".join(token.text for token in reply.tokens)


def test_they_are_drawn_by_the_seed(phi):
    texts = [phi("Well?", choices=["n", "y"], seed=seed).text for seed in (1, 2, 1)]
    numbers = [random_number(seed, 0) for seed in (1, 2, 1)]
    assert texts == ["y" if number < 2 / 3 else "n" for number in numbers]  # the likeliest comes first
    assert set(texts) == {"n", "y"}
    assert phi("Well?", choices=["n", "y"], temperature=0).text == "y"


@pytest.mark.parametrize(
    ("choices", "says"), [(["y", "z"], "y"), (["x", "z"], "none is among its likeliest"), (["", "y"], "none empty")]
)
def test_choices_that_are_not_likely_enough(phi, choices, says):
    if says == "y":
        assert phi("Well?", choices=choices).choices == {"y": 1, "z": 0}
    else:
        with pytest.raises(PhiError, match=says):
            phi("Well?", choices=choices)


def test_an_answer_begins_with_given_tokens(phi, server):
    reply = phi("Well?", begin=[ord("n")])
    assert reply.text == "nHello there"
    assert server.asked[-1][1]["prompt"][-1] == ord("n")


def test_a_position_says_how_many_tokens_the_server_gave_and_which_end_an_answer(phi):
    position = phi.look("Well?")
    assert (position.told, len(position.logits), position.ends) == (4, VOCABULARY, {END})
    assert position.names[int(position.logits.argmax())] == "y"


def test_so_does_the_explorer(phi):
    explorer = Explorer(phi, "Well?")
    explorer.begin()
    explorer.wait()
    assert "the server tells the 4 likeliest tokens" in explorer.status.widget.value
    explorer.close()


def test_a_server_of_several_models_is_told_which_and_loads_it(server):
    def needs(path):
        def said(body):
            loaded["meta"] = {"n_vocab": VOCABULARY, "n_ctx": 512}
            return path(body) if body.get("model") == "two" else {"error": "model name is missing from the request"}

        return said

    loaded = {"id": "two"}
    server.paths = {
        path: needs(said) if callable(said) else said for path, said in PATHS.items() if path != "/v1/models"
    }
    server.paths["/v1/models"] = {"data": [{"id": "one"}, loaded]}
    server.paths["/props"] = {"default_generation_settings": {"params": None, "n_ctx": 0}, "build_info": "b1"}
    phi = Phi(model=f"{server.url}#two", seed=1, temperature=1)
    assert len(phi.look("Well?").logits) == VOCABULARY
    assert phi("a<|end|>b").text == "Hello there"
    assert phi("Well?", choices=["y", "no"]).choices
    assert phi("Well?", begin=[ord("n")]).text == "nHello there"
    assert phi.describe().context_length == 512


HOSTILE = {
    "no vocabulary": ("/v1/models", {"data": [{"id": "phi-4"}]}, "does not tell how large its vocabulary is"),
    "an empty vocabulary": (
        "/v1/models",
        {"data": [{"id": "phi-4", "meta": {"n_vocab": 0}}]},
        "does not tell how large its vocabulary is",
    ),
    "one that is too large": (
        "/v1/models",
        {"data": [{"id": "phi-4", "meta": {"n_vocab": 10**12}}]},
        "does not tell how large its vocabulary is",
    ),
    "no facts": ("/v1/models", {"data": [{"id": "phi-4", "meta": None}]}, "does not tell how large its vocabulary is"),
    "a token outside": ("/v1/models", {"data": [{"id": "phi-4", "meta": {"n_vocab": 4}}]}, "and tells of token 121"),
    "no probabilities": ("/completion", {"completion_probabilities": []}, "sends what is no answer to /completion"),
    "bytes that are none": (
        "/completion",
        {"completion_probabilities": [{"top_logprobs": [{"id": 1, "token": "a", "bytes": [300], "logprob": -1}]}]},
        "sends what is no answer to /completion",
    ),
    "no tokens": ("/tokenize", {"tokens": [{"id": 5, "piece": [300]}]}, "sends what is no answer to /tokenize"),
    "another form": ("/tokenize", [1], "sends what is no answer to /tokenize"),
    "no template": ("/apply-template", {"prompt": None}, "sends what is no answer to /apply-template"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_a_server_may_say_wrong_is_one_line(phi, server, case):
    path, said, says = HOSTILE[case]
    server.paths[path] = said
    with pytest.raises(PhiError, match=says):
        phi.look("Well?")


def test_settings_of_another_form_hide_no_model(phi, server):
    server.paths["/props"] = {"default_generation_settings": [1], "build_info": "b1"}
    assert phi.describe().context_length == 0


def test_a_text_that_the_server_does_not_give_is_one_line(phi, server):
    server.paths["/detokenize"] = {"text": "n"}
    with pytest.raises(PhiError, match="sends what is no answer to /detokenize"):
        phi("Well?", begin=[ord("n")])
