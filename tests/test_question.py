"""From a prompt and its options to a question: what cannot be sent is one line."""

import subprocess
import sys

import numpy as np
import pytest
from markupsafe import Markup

from phi_magic import Phi, PhiError
from phi_magic.generation.plan import Plan
from phi_magic.keywords import Options
from phi_magic.reply import Token
from tests.fake_backend import FakeBackend

SURROGATE = "a\ud800b"


@pytest.fixture
def phi():
    phi = Phi(model="demo", seed=1)
    phi.backend = FakeBackend(*["one answer"] * 9)
    return phi


@pytest.fixture
def asked(phi):
    def ask(prompt="x", **options):
        phi(prompt, **options)
        return phi.backend.requests[-1]

    return ask


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (5, "the prompt is 5, neither a text nor a list"),
        (None, "the prompt is None"),
        (b"x", "the prompt is b'x'"),
        (np.array(1.0), "the prompt is array(1.)"),
        ({"role": "user", "content": "x"}, "the prompt is {'role'"),
        (["a"], "'a' is no message: write a dict with role and content"),
        ([{"content": "x"}], "is no message"),
        ([{"role": "user"}], "is no message"),
        ([{"role": "user", "content": None}], "a message's content must be a text, not None"),
        ([{"role": None, "content": "x"}], "a message's role must be a text, not None"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}], "only text can be sent"),
        ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "must be a text, not 5"),
        ([], "the prompt is empty"),
    ],
)
@pytest.mark.parametrize("raw", [False, True])
def test_what_is_no_prompt_is_one_line(phi, prompt, says, raw):
    with pytest.raises(PhiError) as caught:
        phi(prompt, raw=raw)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        *(
            ({"begin": ids}, "begin must be a list of token ids")
            for ids in ([1.5], "ab", b"ab", 5, [True], [2**70], [-1])
        ),
        *(({"top_logprobs": count}, "top_logprobs must be a whole number") for count in ("a", 1.5, -1, 2**70, True)),
        *(({"raw": flag}, "raw must be True or False") for flag in (1, "yes", None, np.array([]), np.array([1, 2]))),
        ({"continues": 1}, "continues must be True or False, not 1"),
        ({"identify": 0}, "identify must be True or False, not 0"),
        ({"begin": np.array(1)}, "begin must be a list of token ids"),
        ({"choices": np.array("a")}, "choices must be a list of texts"),
        *(({"n": count}, "n is how many answers to give") for count in (2**63, 10**6, np.array([1, 2]), np.array(1.0))),
        ({"given": 5}, "given must be a text, not 5"),
        ({"now": 5}, "now must be a text, not 5"),
        ({"now": "yesterday"}, "now must be a date and time in ISO 8601"),
        ({"plan": "a"}, "model.plan has the wrong type"),
        ({"plan": Plan("a")}, "model.plan.n_threads has the wrong type: expected a whole number, got a text"),
        ({"known": ["a"]}, "known must be the first tokens of a Reply"),
        ({"known": 5}, "known must be the first tokens of a Reply"),
        ({"known": [Token(1, 5, 0.0, 1.0)]}, "known[0].text has the wrong type"),
        ({"choices": 5}, "choices must be a list of texts"),
        ({"choices": "ab"}, "choices must be a list of texts"),
        ({"choices": ["a", 5]}, "each of choices must be a text, not 5"),
        ({"seed": True}, "seed must be a whole number"),
        ({"top_k": True}, "top_k must be a whole number"),
        ({"temperature": True}, "temperature must be a number"),
        ({"n": 2, "seed": "a"}, "seed must be a whole number"),
        ({"cache": [1]}, "cache must be"),
    ],
    ids=str,
)
def test_an_option_of_the_wrong_type_is_one_line(phi, options, says):
    with pytest.raises(PhiError) as caught:
        phi("x", **options)
    assert says in str(caught.value)


def test_a_place_to_look_at_is_named_as_the_caller_names_it(phi):
    with pytest.raises(PhiError, match="generated must be a list of token ids"):
        phi.look("x", generated="x")


@pytest.mark.parametrize("ask", ["__call__", "stream", "map", "sweep", "look", "tokenize", "load", "describe"])
def test_a_mistyped_option_is_answered_with_the_nearest(phi, ask):
    with pytest.raises(PhiError, match=r"no option 'temprature'; did you mean temperature\?"):
        getattr(phi, ask)(*{"load": (), "describe": (), "map": (["x"],)}.get(ask, ("x",)), temprature=[0, 1])


def test_so_is_one_of_the_constructor_and_of_a_conversation(phi):
    with pytest.raises(PhiError, match=r"did you mean temperature\?"):
        Phi(temprature=0)
    with pytest.raises(PhiError, match=r"did you mean temperature\?"):
        phi.chat("trip")("x", temprature=0)


def test_an_option_that_is_like_no_other_is_answered_with_all_of_them(phi):
    with pytest.raises(PhiError) as caught:
        phi("x", zzz=1)
    assert set(Options.__annotations__) <= set(str(caught.value).translate(str.maketrans(",()", "   ")).split())


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("temperature", np.float32(0.5), 0.5),
        ("temperature", np.float64(0.5), 0.5),
        ("temperature", np.int64(1), 1.0),
        ("top_k", np.int64(5), 5),
        ("exact", np.bool_(False), False),
    ],
    ids=repr,
)
def test_numpys_numbers_are_taken_for_a_trait(phi, name, value, plain):
    phi("x", **{name: value})
    made = Phi(**{name: value})
    phi.set_trait(name, value)
    found = [phi.last.params[name], getattr(made, name), getattr(phi, name)]
    assert [(one, type(one)) for one in found] == [(plain, type(plain))] * 3


def test_and_for_the_options_of_one_question(asked):
    request = asked(begin=np.array([3, 4]), top_logprobs=np.int64(2), raw=np.bool_(True))
    assert (request.begin, request.top_logprobs, request.raw) == ((3, 4), 2, True)


def test_a_seed_for_several_answers_may_be_its_text(phi):
    from phi_magic.tables.prompts import repeated

    assert repeated(2, {"seed": "5"}, None)["seed"] == [5, 6]


def test_the_parts_of_a_message_are_joined(phi):
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert phi([{"role": "user", "content": parts}]).prompt == "one\ntwo"


MARKED = {
    "prompt": Markup("<b>"),
    "system": Markup("<b>"),
    "stop": [Markup("<b>")],
    "schema": Markup('{"type": "integer"}'),
    "model": Markup("demo"),
    "now": Markup("2026-01-01T00:00:00"),
}


@pytest.mark.parametrize("name", MARKED)
def test_a_subclass_of_str_is_sent_as_its_text(asked, name):
    request = asked(**{name: MARKED[name]})
    assert type(request.model.name) is type(request.now) is str
    assert {type(text) for text in (*request.stop, *(message.content for message in request.messages))} == {str}


def test_so_are_choices_and_a_given_answer(asked):
    assert [type(one) for one in asked(choices=[Markup("<b>"), "c"]).choices] == [str, str]
    assert type(asked(given=Markup("<b>")).given) is str


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"stop": [SURROGATE]}, lambda request: request.stop[0]),
        ({"system": SURROGATE}, lambda request: request.messages[0].content),
        ({"given": SURROGATE}, lambda request: request.given),
        ({"choices": [SURROGATE, "c"]}, lambda request: request.choices[0]),
        ({"prompt": [{"role": SURROGATE, "content": "x"}], "raw": True}, lambda request: request.messages[0].role),
        ({"prompt": SURROGATE}, lambda request: request.messages[0].content),
    ],
    ids=["stop", "system", "given", "choices", "role", "prompt"],
)
def test_a_lone_surrogate_is_sent_as_a_question_mark(asked, options, sent):
    assert sent(asked(**options)) == "a?b"


def test_messages_and_records_keep_no_list_of_the_caller(phi):
    phi.stop = ["END"]
    first = phi("x")
    phi.stop.append("other")
    assert first.params["stop"] == ["END"]


def test_messages_may_be_dicts_for_a_type_checker(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "from phi_magic import Message, Phi\n\n"
        'plain: list[dict[str, str]] = [{"role": "user", "content": "x"}]\n'
        'typed: list[Message] = [{"role": "user", "content": "x"}]\n'
        "phi = Phi()\n"
        "print(phi(plain).text, phi(typed).text, [reply.text for reply in phi.map([plain, typed])])\n"
    )
    pytest.importorskip("mypy", reason="in the extra `check`, not in `test`")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", tmp_path / "cache", program],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.stdout.startswith("Success"), checked.stdout


def test_questions_with_different_caches_are_refused_together(tmp_path):
    phi = Phi(model="demo", cache=str(tmp_path / "answers.sqlite"))
    with pytest.raises(PhiError, match="another cache than the others: ask them apart"):
        phi.stream_all([("one", {}), ("two", {"cache": False})])
    assert len(phi.stream_all([("one", {}), ("two", {})]).replies) == 2
