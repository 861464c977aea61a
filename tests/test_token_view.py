"""An answer's tokens as HTML and as text."""

from __future__ import annotations

import math
from html.parser import HTMLParser

import pytest
from IPython.core.error import UsageError

from phi_magic import Phi
from phi_magic.engine.context import Context
from phi_magic.engine.engine import Engine
from phi_magic.rendering.shades import legend, shade, shades
from phi_magic.rendering.token_shading import describe, kind, percent, shown, summary, to_html, to_text
from phi_magic.reply import Alternative, Token
from phi_magic.widgets.token_view import TokenView


def token(text, probability=0.5, after=0.6, rank=1, top=()):
    return Token(7, text, math.log(probability), after, rank, top)


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (" ice", "␣ice"),
        ("\n", "↵"),
        ("a\tb", "a⇥b"),
        ("\u200b", "⟨U+200B⟩"),
        ("\u202e", "⟨U+202E⟩"),
        ("\xa0", "⟨U+00A0⟩"),
        ("\u0301", "◌\u0301"),
        ("\\xe2", "\\xe2"),
        ("<|end|>", "<|end|>"),
        ("日本", "日本"),
    ],
)
def test_what_would_not_be_seen_is_shown_for_what_it_is(text, seen):
    assert shown(text) == seen


def test_bytes_and_control_tokens_are_named():
    assert kind("\\xe2\\x82") == "bytes of a split character"
    assert kind("<|end|>") == kind("<s>") == "control token"
    assert kind(" ice") == kind("<b>") == kind("\\x") == ""
    assert "control token" in to_html([token("<|end|>")])


@pytest.mark.parametrize(
    ("probability", "text"),
    [(1, "100"), (0.97, "97"), (0.0834, "8.3"), (0.0002, "0.02"), (0.00001, "<0.01"), (0, "0"), (0.0995, "10")],
)
def test_a_probability_in_percent_stays_short_and_honest(probability, text):
    assert percent(probability) == text


def test_the_shade_is_deeper_the_less_likely_the_token_was_and_has_one_hue():
    depths = [float(shade(math.log(p)).split()[-1].rstrip(")")) for p in (1, 0.5, 0.1, 0.01, 1e-9)]
    assert depths == sorted(depths)
    assert depths[0] == 0
    assert depths[-1] < 0.7  # the text on it must stay readable, black or white
    assert len({shade(math.log(p)).rpartition(",")[0] for p in (1, 0.5, 0.01)}) == 1


def test_the_numbers_are_text_in_both_forms():
    tokens = [token("Puck", 0.41), token(" glides", 0.9), token("\n", 1.0), token("the", 0.083)]
    assert to_text(tokens) == "Puck⟨41⟩␣glides⟨90⟩↵⟨100⟩\nthe⟨8.3⟩"
    seen = Tags(to_html(tokens)).text
    for number in ("41", "90", "100", "8.3"):
        assert f"⟨{number}⟩" in seen


def test_a_token_tells_its_rank_surprise_and_alternatives_on_hover_and_in_the_table():
    top = (
        Alternative(1, " cold", math.log(0.5), 0.7),
        Alternative(7, " ice", math.log(0.25), 0.3),
        Alternative(2, "<|end|>", math.log(0.01), 0),
    )
    page = Tags(to_html([token(" ice", 0.25, 0.3, 2, top)]))
    [title] = [attributes["title"] for tag, attributes in page.tags if tag == "ruby"]
    assert "rank 2 · surprise 2.00 bits" in title
    assert "1. ␣cold  50 % → 70 %" in title
    assert "▸2. ␣ice  25 % → 30 %" in title
    assert "3. <|end|>  1.0 % → cut" in title
    assert "␣cold 50 % → 70 %" in page.text
    assert "<|end|> 1.0 % → cut" in page.text


def test_the_probability_when_drawn_is_shown_where_it_is_another_or_unknown():
    def said(probability):
        return describe(token(" ice", 0.25, probability)).splitlines()[1]

    assert said(0.3).startswith("when drawn 30 % · rank")
    assert said(0.25).startswith("rank")
    assert said(math.nan).startswith("when drawn not told · rank")
    page = Tags(to_html([token(" ice", 0.25, math.nan, 1, (Alternative(1, " cold", math.log(0.5), math.nan),))])).text
    assert "␣cold 50 % → not told" in page
    assert "nan" not in page


def test_a_small_probability_is_written_as_html_has_it():
    page = to_html([token(" ice", 1e-6, 2e-6, 3, (Alternative(1, " cold", math.log(1e-7), 0.7),))])
    assert "<0.01" not in page
    assert page.count("&lt;0.01") >= 4


def test_the_tokens_of_a_long_answer_differ_by_their_places():
    tokens = [token("x", 1 - number / 1000) for number in range(300)]
    depths = [float(colour.split()[-1].rstrip(")")) for colour in shades(tokens, "quantiles")]
    assert depths == sorted(depths)
    assert depths[0] == 0
    assert depths[-1] == pytest.approx(0.6, abs=0.02)
    assert depths[150] == pytest.approx(0.3, abs=0.02)
    assert len({*depths}) > 50 > len({*shades(tokens, "bits")})
    assert [said for _, said in legend(tokens, "bits")] == ["0", "2", "4", "6", "8+"]
    assert [said for _, said in legend(tokens, "quantiles")] == ["0", "0.11", "0.23", "0.37", "0.51"]


def test_certain_tokens_are_clear_on_either_scale():
    tokens = [*[token("x", 1)] * 9, token("y", 0.5)]
    for scale in ("bits", "quantiles"):
        assert set(shades(tokens, scale)[:9]) == {"rgba(213, 94, 0, 0.00)"}
    assert shades([token("x", 0.01)], "quantiles") == shades([token("x", 0.01)], "bits")


def test_the_page_has_a_legend_and_no_style_block():
    page = to_html([token("a"), token("b", 0.1)], scale="quantiles")
    assert "<style" not in page
    assert "surprise, by its place in this answer" in Tags(page).text
    assert "0.15" not in Tags(page).text
    assert "surprise in bits: 0 2 4 6 8+ bits." in Tags(to_html([token("a")])).text


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=http://203.0.113.1/a onerror=alert(1)>",
        '" onfocus="alert(1)',
        "</style><b>",
        "$x$",
        "\\(x\\)",
    ],
)
def test_a_token_is_text_whatever_it_says(hostile):
    plain = {tag for tag, _ in Tags(to_html([token("a", top=(Alternative(1, "b", -1, 0.1),))])).tags}
    top = (Alternative(1, hostile, -1.0, 0.1),)
    page = Tags(to_html([token(hostile, top=top)]))
    assert {tag for tag, _ in page.tags} <= plain | {"span"}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert shown(hostile) in page.text


def test_without_alternatives_it_says_how_to_have_them():
    assert "--top-logprobs" in to_html([token("a")])
    assert "--top-logprobs" not in to_html([token("a", top=(Alternative(7, "a", -0.1, 0.6),))])


def test_while_the_answer_grows_the_table_is_left_out():
    assert "<table" not in to_html([token("a")], whole=False)
    assert "<table" in to_html([token("a")])


@pytest.fixture(scope="module")
def reply():
    return Phi(model="demo", seed=7)("Write a haiku about ice hockey", top_logprobs=5)


class TestBranching:
    @pytest.fixture
    def evaluated(self, monkeypatch):
        """How many tokens each pass through the model was for, which is run in this process to be counted."""
        engine = Engine()
        monkeypatch.setattr(Phi, "backend", engine)
        passes, real = [], Context._pass

        def counted(context, tokens, *arguments, **options):
            passes.append(len(tokens))
            return real(context, tokens, *arguments, **options)

        monkeypatch.setattr(Context, "_pass", counted)
        yield passes
        engine.unload()

    @pytest.fixture
    def tokens(self, reply):
        return TokenView(reply)

    def branch(self, tokens, number, at, place):
        """Take the alternative at a place of a token's menu, as a click does."""
        branch = tokens.branches[number]
        other = [one for one in branch.tokens[at]["top"] if one["id"] != branch.tokens[at]["id"]][place]
        branch._handle_custom_msg({"at": at, "take": other["id"]}, [])
        tokens.wait()
        return other

    def test_taking_an_alternative_writes_a_branch_and_both_stay(self, tokens, reply):
        before = tokens.branches[0].tokens
        other = self.branch(tokens, 0, 2, 0)
        assert tokens.branches[0].tokens == before
        texts = [token["text"] for token in tokens.branches[1].tokens]
        assert texts[:3] == [*(token["text"] for token in before[:2]), other["text"]]
        assert tokens.replies[1].seed == reply.seed
        assert tokens.replies[1].params["temperature"] == reply.params["temperature"]
        assert tokens.branches[1].begun == 2

    def test_a_branch_can_branch(self, tokens):
        self.branch(tokens, 0, 1, 0)
        self.branch(tokens, 1, 3, 1)
        assert [branch.begun for branch in tokens.branches.values()] == [0, 1, 3]
        assert "branch of answer 2 at token 4" in tokens._state()["text/html"]

    def choose(self, tokens, number, what):
        tokens.branches[number]._handle_custom_msg({"choose": what}, [])

    def test_a_branch_is_kept_put_in_the_place_of_its_origin_or_discarded(self, tokens):
        for place in (0, 1, 2):
            self.branch(tokens, 0, 1, place)
        assert {*tokens.branches[1].choices} == {"keep", "replace", "discard"}
        assert tokens.branches[0].choices == {}
        self.choose(tokens, 1, "keep")
        assert tokens.branches[1].choices == {}
        self.choose(tokens, 2, "discard")
        assert [*tokens.replies] == [0, 1, 3]
        kept, new = tokens.replies[1].text, tokens.replies[3].text
        self.choose(tokens, 3, "replace")
        assert [reply.text for reply in tokens.replies.values()] == [new, kept]
        assert tokens._shown.children == (tokens.branches[3], tokens.branches[1])
        assert tokens.branches[3].choices == {}

    def test_a_branch_whose_origin_is_gone_can_no_longer_replace_it(self, tokens):
        self.branch(tokens, 0, 1, 0)
        self.branch(tokens, 1, 3, 0)
        self.choose(tokens, 1, "discard")
        assert tokens.branches[2].choices == {}
        self.choose(tokens, 2, "replace")
        assert [*tokens.replies] == [0, 2]

    def test_the_scale_is_that_of_all_branches_and_of_what_is_saved(self, tokens):
        self.branch(tokens, 0, 1, 0)
        tokens.branches[1].scale = "quantiles"
        self.branch(tokens, 1, 3, 0)
        assert {branch.scale for branch in tokens.branches.values()} == {"quantiles"}
        assert tokens._state()["text/html"].count("surprise, by its place in this answer") == 3
        assert tokens.branches[0].text == tokens.replies[0].text

    def test_the_branch_that_takes_the_answers_own_token_is_the_answer(self, tokens, reply):
        tokens.branch(0, 4, reply.tokens[4].id)
        tokens.wait()
        assert tokens.replies[1].text == reply.text

    def test_what_the_model_has_read_of_the_answer_is_not_read_again(self, tokens, reply, evaluated):
        at = len(reply.tokens) - 3
        Phi(model="demo")(reply.prompt, seed=reply.seed, known=reply.tokens)  # the newest that was asked
        evaluated.clear()
        self.branch(tokens, 0, at, 0)
        branch = tokens.replies[1]
        assert sum(evaluated) <= 1 + len(branch.tokens) - at  # one more for the logits that the token is taken from
        assert branch.usage.cached_tokens == reply.usage.prompt_tokens

        again = TokenView(reply)
        Phi().unload()
        evaluated.clear()
        again.branch(0, at, branch.tokens[at].id)
        again.wait()
        assert sum(evaluated) > at
        assert again.replies[1].text == branch.text
        assert again.replies[1].tokens == branch.tokens  # probabilities too, to the last digit

    def test_a_branch_of_an_answer_that_followed_a_schema_follows_it_too(self):
        schema = {"type": "object", "properties": {"goals": {"type": "integer"}}, "required": ["goals"]}
        reply = Phi(model="demo", seed=3, max_tokens=60)("Goals?", top_logprobs=5, schema=schema)
        tokens = TokenView(reply)
        tokens.branch(0, 2, reply.tokens[2].id)
        tokens.wait()
        assert tokens.replies[1].text == reply.text
        assert tokens.replies[1].data == reply.data

    def test_a_branch_is_run_as_its_origin_was(self):
        origin = Phi(model="demo", seed=4, profile="memory", max_tokens=12)("Write a haiku about ice", top_logprobs=3)
        tokens = TokenView(origin)
        tokens.branch(0, 3, origin.tokens[3].id)
        tokens.wait()
        assert tokens.replies[1].engine == origin.engine
        assert tokens.replies[1].text == origin.text

    def test_while_a_branch_is_written_nothing_else_can_be_begun(self, slow_model):
        reply = Phi(model=str(slow_model), n_threads=1, max_tokens=3, seed=1)("Write", top_logprobs=3)
        reply.params["max_tokens"] = 2000
        tokens = TokenView(reply)
        tokens.branch(0, 0, reply.tokens[0].top[2].id)
        assert all(branch.busy for branch in tokens.branches.values())
        assert tokens.stop.layout.display != "none"
        tokens.branch(0, 1, reply.tokens[1].top[2].id)
        assert len(tokens.replies) == 2
        tokens.stop.click()
        tokens.wait()
        assert "interrupted" in tokens.status.widget.value
        assert not any(branch.busy for branch in tokens.branches.values())
        assert tokens.stop.layout.display == "none"

    def test_outside_of_a_notebook_the_tokens_are_text(self, shell, reply, capsys):
        shell.user_ns["reply"] = reply
        shell.run_cell("reply.show_tokens()").raise_error()
        [shown] = shell.display_pub.outputs
        assert shown["data"]["text/plain"] == to_text(reply.tokens)

    def test_the_magic_keeps_alternatives_on_request(self, shell):
        shell.run_line_magic("load_ext", "phi_magic")
        shell.run_cell_magic("phi", "-m demo -n 2 -q -o answer --top-logprobs 3", "Write a haiku")
        assert [len(token.top) for token in shell.user_ns["answer"].tokens] == [3, 3]
        shell.run_cell_magic("phi", "-m demo -n 2 -q -o answer -f tokens", "Write a haiku")
        assert [len(token.top) for token in shell.user_ns["answer"].tokens] == [5, 5]
        with pytest.raises(UsageError, match="top_logprobs must be"):
            shell.run_cell_magic("phi", "-m demo --top-logprobs -1", "Write a haiku")


@pytest.mark.parametrize(
    ("probability", "said"), [(1 / 3.2711, "3.27"), (1 / 1350.4, "1,350"), (1 / 146_720, "146,720")]
)
def test_a_large_perplexity_is_a_whole_number(probability, said):
    assert f" · perplexity {said} · " in summary([token(" ice", probability)], " ice")
