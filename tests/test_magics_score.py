"""%%phi_score and %phi_tokens: somebody else's text, as the model sees it."""

import math

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError

from phi_magic import Phi
from phi_magic.rendering.token_shading import summary

HAIKU = "The puck drifts slowly,\nthe swift stick scores all night long"
SHUFFLED = "long drifts puck the night swift,\nslowly all stick scores The the"


@pytest.fixture
def ip(shell):
    shell.run_line_magic("load_ext", "phi_magic")
    shell.run_line_magic("config", "Phi.model = 'demo'")
    shell.user_ns["question"] = "Write a haiku about ice hockey"
    return shell


def shown(ip):
    return ip.display_pub.outputs[-1]["data"]


class TestScore:
    def test_every_token_is_shaded_and_the_line_below_sums_up(self, ip):
        ip.run_cell_magic("phi_score", "--after question -o scored", HAIKU)
        scored = ip.user_ns["scored"]
        assert scored.text == HAIKU
        assert shown(ip)["text/html"].count("<ruby") == len(scored.tokens)
        line = shown(ip)["text/plain"].splitlines()[-1]
        assert line == summary(scored.tokens, HAIKU)
        assert f"perplexity {scored.perplexity:.3g}" in line

    def test_a_shuffled_haiku_surprises_more(self, ip):
        for name, text in (("written", HAIKU), ("shuffled", SHUFFLED)):
            ip.run_cell_magic("phi_score", f"--after question -q -o {name}", text)
        assert ip.user_ns["shuffled"].perplexity > 10 * ip.user_ns["written"].perplexity

    def test_a_reply_is_a_prompt_too(self, ip):
        ip.user_ns["answer"] = Phi(model="demo")("Write a haiku about ice hockey", max_tokens=4, seed=1)
        for name in ("answer", "question"):
            ip.run_cell_magic("phi_score", f"--after {name} -q -o by_{name}", HAIKU)
        assert ip.user_ns["by_answer"].tokens == ip.user_ns["by_question"].tokens

    def test_without_a_prompt_the_text_begins_the_document(self, ip):
        ip.run_cell_magic("phi_score", "-o alone -q", HAIKU)
        assert math.isfinite(ip.user_ns["alone"].logprob)
        assert ip.user_ns["alone"].usage.prompt_tokens == 1  # the token that begins a sequence

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("--after quest", "no variable quest; did you mean question"),
            ("--after number", "number is a int"),
            ("hello", "the text goes below"),
            ("--schema x", "there is no option --schema"),
        ],
    )
    def test_a_mistake_is_one_line(self, ip, line, says):
        ip.user_ns["number"] = 5
        with pytest.raises(UsageError, match=says):
            ip.run_cell_magic("phi_score", line, HAIKU)

    def test_an_empty_text_is_one_line(self, ip):
        with pytest.raises(UsageError, match="nothing to evaluate"):
            ip.run_cell_magic("phi_score", "--after question", "\n")

    def test_tab_offers_prompts(self, ip):
        with provisionalcompleter():
            line = "%%phi_score --after que"
            assert "question" in [found.text for found in ip.Completer.completions(line, len(line))]


class TestTokens:
    @pytest.mark.parametrize("cell", [False, True])
    def test_a_text_is_cut(self, ip, cell):
        text = "ice hockey é<|end|>"
        if cell:
            ip.run_cell_magic("phi_tokens", "", text)
        else:
            ip.run_line_magic("phi_tokens", text)
        tokens = Phi(model="demo").tokenize(text)
        assert b"".join(token.data for token in tokens).decode() == text
        assert shown(ip)["text/plain"].endswith(f"{len(tokens)} tokens")
        html = shown(ip)["text/html"]
        assert all(f">{token.id}</rt>" in html for token in tokens)
        assert "<|end|>" not in html

    def test_no_text_is_one_line(self, ip):
        with pytest.raises(UsageError, match="needs a text"):
            ip.run_line_magic("phi_tokens", "")
