"""What each kind of server sends, from tests/data/servers: every exchange says where its form is from, and when it was read."""

import json
from pathlib import Path

import pytest

from phi_magic import PhiError
from phi_magic.remote import dialects
from phi_magic.remote.dialects import Dialect
from phi_magic.sampling import Sampling

EXCHANGES = [
    pytest.param(exchange, id=f"{exchange['kind']}: {exchange['case']}")
    for path in sorted((Path(__file__).parents[1] / "data" / "servers").glob("*.jsonl"))
    for exchange in map(json.loads, path.read_text(encoding="utf-8").splitlines())
]


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_exchange_becomes_the_reply_that_it_means(exchange, served):
    server, phi = served(exchange["kind"])
    server.replies = [exchange.get("events") or [exchange["raw"].encode()]]
    stream = phi.stream("Ice?", **exchange["options"])
    expected = exchange["expect"]
    if "error" in expected:
        with pytest.raises(PhiError, match=expected["error"]):
            stream.run()
    else:
        stream.run()
    reply = stream.reply
    assert server.asked[-1][0] == exchange["path"]
    assert reply.text == expected["text"]
    assert reply.reasoning == expected.get("reasoning", "")
    assert reply.finish_reason == expected.get("finish_reason", "interrupted")
    assert [token.text for token in reply.tokens] == expected.get("tokens", [])
    assert [token.logprob for token in reply.tokens] == expected.get("logprobs", [])
    assert [[other.text for other in token.top] for token in reply.tokens] == expected.get("top", [])
    if "usage" in expected:
        usage = reply.usage
        assert [usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens] == expected["usage"]


def test_every_exchange_says_where_it_is_from():
    for [exchange] in (parameter.values for parameter in EXCHANGES):
        assert exchange["source"]
        assert exchange["date"].startswith("20")


OPENAI = {"temperature", "top_p"}  # what every server with OpenAI's interface knows
DIALECTS = [value for value in vars(dialects).values() if isinstance(value, Dialect)]


def test_every_sampling_parameter_that_openai_lacks_has_a_value_that_switches_it_off():
    assert dialects._OFF.keys() == set(Sampling.class_trait_names()) - OPENAI


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_server_is_sent_a_parameter_or_it_ignores_it(dialect):
    assert dialect.sends.keys() | dialect.ignores >= dialects._OFF.keys()
