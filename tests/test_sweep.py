"""%%phi_sweep: a grid of answers, each the same whatever else is in the grid."""

import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError

from phi_magic import Phi, PhiError, Reply
from phi_magic.generation.backend import Step
from phi_magic.recorded import Recorded
from phi_magic.replay import replay
from phi_magic.sweep import parse, questions, table
from tests.fake_backend import FakeBackend

HAIKU = "Write a haiku about the sea"


@pytest.fixture
def phi():
    return Phi(model="demo", max_tokens=12)


def answered(phi, line, **options):
    stream = phi.stream_all(questions(HAIKU, parse(line.split()), options, phi.seed))
    for _ in stream:
        pass
    return stream.replies


class TestGrid:
    @pytest.mark.parametrize(
        ("line", "axes"),
        [
            ("temperature=0.2,0.8", {"temperature": (0.2, 0.8)}),
            ("seed=1:5", {"seed": (1, 2, 3, 4, 5)}),
            ("top_p=0.5:1:0.1", {"top_p": (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)}),
            ("top-k=1,10:12,40", {"top_k": (1, 10, 11, 12, 40)}),
            ("temperature=0:1:0.4", {"temperature": (0.0, 0.4, 0.8)}),
            ("temperature=1,1.0,1e0", {"temperature": (1.0,)}),
            ("max_tokens=3 min_p=.05", {"max_tokens": (3,), "min_p": (0.05,)}),
        ],
    )
    def test_values_and_ranges(self, line, axes):
        assert parse(line.split()).axes == axes

    def test_every_combination_the_last_setting_fastest(self):
        grid = parse(["seed=1,2", "top_k=3,4"])
        assert [tuple(c.values()) for c in grid.combinations] == [(1, 3), (1, 4), (2, 3), (2, 4)]

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("", "nothing is swept"),
            ("temprature=1,2", "did you mean temperature?"),
            ("format=a,b", "'format' cannot be swept"),
            ("seed", "seed needs values"),
            ("seed=", "seed needs values"),
            ("seed=1 seed=2", "seed is there twice"),
            ("seed=one", "no number"),
            ("seed=1.5", "seed must be"),
            ("seed=1:2:3:4", "no number and no range"),
            ("seed=1:", "no number and no range"),
            ("seed=5:1", "holds no value"),
            ("seed=1:5:0", "holds no value"),
            ("seed=1:5:-1", "holds no value"),
            ("temperature=0.1:0.5", "needs a step: 0.1:0.5:0.1"),
            ("temperature=7", "temperature must be a number from 0 to 5"),
            ("temperature=nan", "no number"),
            ("seed=1:4000000000", "at most 256"),
            ("temperature=0:1:1e-99", "at most 256"),
            ("seed=1:20 top_k=1:20", "400 answers; at most 256, or more with --max 400"),
        ],
    )
    def test_a_mistake_is_one_line(self, line, says):
        with pytest.raises(PhiError) as error:
            parse(line.split())
        assert says in str(error.value)
        assert "\n" not in str(error.value)

    def test_more_when_allowed(self):
        assert len(parse(["seed=1:300"], most=300)) == 300

    @given(st.text(st.characters(codec="ascii"), max_size=20))
    def test_whatever_is_written_is_a_grid_or_one_line(self, text):
        with suppress(PhiError):
            assert 1 <= len(parse([f"temperature={text}"])) <= 256


class TestAnswers:
    def test_an_answer_does_not_depend_on_the_others(self, phi):
        grid = answered(phi, "temperature=0.5,1.5 seed=1:3")
        alone = answered(phi, "temperature=1.5 seed=2")
        backwards = answered(phi, "seed=3,2,1 temperature=1.5,0.5")
        texts = {(r.params["temperature"], r.seed): r.text for r in grid}
        assert alone[0].text == texts[1.5, 2]
        assert {(r.params["temperature"], r.seed): r.text for r in backwards} == texts
        assert len(set(texts.values())) > 3

    def test_the_prompt_is_read_once(self, phi):
        replies = answered(phi, "temperature=0.3,0.9 seed=1:5")
        assert {reply.usage.cached_tokens for reply in replies} == {replies[0].usage.prompt_tokens}

    def test_replay_gives_each_again(self, phi):
        for reply in answered(phi, "temperature=0,1 seed=1,2", system="Be brief."):
            assert replay(Phi(), Recorded.of(reply, "here")).same

    def test_one_seed_is_drawn_for_all(self, phi):
        assert len({reply.seed for reply in answered(phi, "temperature=0.5,1")}) == 1
        assert {reply.seed for reply in answered(phi, "temperature=0.5,1", seed=7)} == {7}

    def test_what_is_swept_cannot_be_an_option_too(self, phi):
        with pytest.raises(PhiError, match="seed is swept, and set by an option too"):
            questions(HAIKU, parse(["seed=1,2"]), {"seed": 3}, phi.seed)


class TestTable:
    def test_three_by_three_is_a_grid(self, phi):
        line = "temperature=0.2,0.7,1.2 seed=1:3"
        shown = table(parse(line.split()), answered(phi, line))
        assert list(shown.headers) == ["temperature", "seed 1", "seed 2", "seed 3"]
        assert [row[0] for row in shown.rows] == ["0.2", "0.7", "1.2"]
        assert max(map(len, shown.to_plain().splitlines())) <= 120

    @pytest.mark.parametrize(
        ("line", "down", "across"),
        [
            ("temperature=0.2,0.7,1.2 seed=1:3", "temperature", "seed 1"),
            ("temperature=0.2,0.7,1.2 seed=1:4", "temperature", "seed 1"),
            ("seed=1:4 temperature=0.2,0.7,1.2", "seed", "temperature 0.2"),
            ("temperature=0.2,0.7,1.2 seed=1:8", "seed", "temperature 0.2"),
        ],
    )
    def test_the_first_setting_goes_down_unless_only_the_other_way_fits(self, line, down, across):
        grid = parse(line.split())
        shown = table(grid, [Reply(HAIKU, "demo", {}, 0)] * len(grid))
        assert list(shown.headers[:2]) == [down, across]

    @pytest.mark.parametrize("line", ["seed=1:20", "seed=1:20 temperature=0.5"])
    def test_one_by_twenty_is_a_list(self, phi, line):
        shown = table(parse(line.split()), answered(phi, line, max_tokens=2))
        assert list(shown.headers) == ["seed", "answer"]
        assert len(shown.rows) == 20

    def test_three_settings_are_a_list(self, phi):
        line = "seed=1,2 temperature=0.5,1 top_k=3,4"
        shown = table(parse(line.split()), answered(phi, line, max_tokens=2))
        assert list(shown.headers) == ["seed", "temperature", "top_k", "answer"]

    def test_what_is_the_same_for_all_stands_below(self, phi):
        line = "temperature=0.5 top_k=3,4"
        shown = table(parse(line.split()), answered(phi, line, seed=9))
        assert shown.caption.startswith("temperature 0.5, seed 9 · 2 answers, ")

    def test_an_answer_that_was_cut_says_so(self, phi):
        [row] = table(parse(["seed=1"]), answered(phi, "seed=1", max_tokens=2)).rows
        assert row[-1].endswith("[length]")

    def test_nothing_in_an_answer_acts(self, phi):
        replies = answered(phi, "seed=1", max_tokens=1)
        replies[0].text = "<script>alert(1)</script>\x1b[31m"
        shown = table(parse(["seed=1"]), replies)
        assert "<script" not in shown.to_html()
        assert "\x1b" not in shown.to_html() + shown.to_plain()


class TestMagic:
    @pytest.fixture
    def ip(self, shell):
        shell.run_line_magic("load_ext", "phi_magic")
        shell.run_line_magic("config", "Phi.model = 'demo'")
        return shell

    def test_models_are_swept(self, ip, slow_model):
        ip.run_cell_magic("phi_sweep", f"model=demo,{slow_model} seed=1 -n 4 -o df", HAIKU)
        df = ip.user_ns["df"]
        assert list(df.model) == ["demo", str(slow_model)]
        alone = [Phi(model=model).map([HAIKU], seed=1, max_tokens=4, progress=False)[0].text for model in df.model]
        assert list(df.text) == alone
        [output] = ip.display_pub.outputs
        assert [reply["model"] for reply in output["metadata"]["phi_magic"]["replies"]] == list(df.model)

    def test_o_binds_a_data_frame(self, ip):
        pytest.importorskip("pandas")
        ip.run_cell_magic("phi_sweep", "seed=1:3 temperature=0.5 -o df -n 3", HAIKU)
        df = ip.user_ns["df"]
        assert list(df.columns) == ["seed", "temperature", "text", "finish_reason", "completion_tokens", "reply"]
        assert [reply.text for reply in df.reply] == list(df.text)
        ip.run_line_magic("phi_replay", "df")
        assert "3 the same" in ip.display_pub.outputs[-1]["data"]["text/plain"]

    def test_without_pandas_o_binds_a_list(self, ip, monkeypatch):
        monkeypatch.setitem(sys.modules, "pandas", None)
        ip.run_cell_magic("phi_sweep", "seed=1:3 -o replies -n 3", HAIKU)
        assert [reply.seed for reply in ip.user_ns["replies"]] == [1, 2, 3]

    def test_options_stand_before_or_behind(self, ip):
        ip.user_ns["topic"] = "rain"
        ip.run_cell_magic("phi_sweep", "-n 2 seed=1 -s 'Be brief.' top_k=5 -o df", "About {{ topic }}")
        [output] = [o for o in ip.display_pub.outputs if "phi_magic" in o["metadata"]]
        [reply] = output["metadata"]["phi_magic"]["replies"]
        assert (reply["prompt"], reply["params"]["system"], reply["params"]["top_k"]) == ("About rain", "Be brief.", 5)

    def test_quiet_shows_nothing(self, ip):
        ip.run_cell_magic("phi_sweep", "seed=1 -n 2 -q -o df", HAIKU)
        assert not ip.display_pub.outputs

    @pytest.mark.parametrize(
        ("line", "cell", "says"),
        [
            ("", HAIKU, "nothing is swept"),
            ("seed=1:2 --temprature 3", HAIKU, "did you mean --temperature?"),
            ("seed=1 --seed 2", HAIKU, "seed is swept, and set"),
            ("seed=1:2", " ", "prompt is empty"),
            ("seed=1:999", HAIKU, "--max"),
            ("seed=1:2 -s be brief", HAIKU, "'brief' stands beside the options .*write --system 'be brief'"),
            ("-s be brief, please seed=1:2", HAIKU, "write --system 'be brief, please'"),
        ],
    )
    def test_a_mistake_is_one_line(self, ip, line, cell, says):
        with pytest.raises(UsageError, match=says):
            ip.run_cell_magic("phi_sweep", line, cell)

    def test_tab_completes_settings_and_options(self, ip):
        def offered(line):
            with provisionalcompleter():
                return [completion.text for completion in ip.Completer.completions(line, len(line))]

        assert "temperature=" in offered("%%phi_sweep te")
        assert "--max" in offered("%%phi_sweep --ma")


class TestFromPython:
    def test_a_setting_with_several_values_is_swept(self, phi):
        found = phi.sweep(HAIKU, temperature=[0, 1.5], seed=range(3), progress=False)
        assert found.grid.axes == {"temperature": (0.0, 1.5), "seed": (0, 1, 2)}
        assert [(reply.params["temperature"], reply.seed) for reply in found] == [
            (temperature, seed) for temperature in (0.0, 1.5) for seed in range(3)
        ]
        assert [found[0].text] * 3 == [reply.text for reply in found][:3]
        assert list(found.frame()["text"]) == [reply.text for reply in found]
        assert found._repr_mimebundle_()[0]["text/markdown"].startswith("| temperature | seed 0 | seed 1 | seed 2 |\n")

    def test_the_answers_are_those_of_the_cell(self, phi):
        from_cell = answered(phi, "temperature=0.5,1.5 seed=1,2")
        from_python = phi.sweep(HAIKU, temperature=[0.5, 1.5], seed=[1, 2], progress=False)
        assert [reply.text for reply in from_python] == [reply.text for reply in from_cell]

    def test_models_are_swept_and_each_answers_as_it_does_alone(self, phi, slow_model):
        models = ["demo", str(slow_model)]
        found = phi.sweep(HAIKU, model=models, seed=1, max_tokens=4, progress=False)
        alone = [phi.map([HAIKU], model=model, seed=1, max_tokens=4, progress=False)[0] for model in models]
        assert [reply.model for reply in found] == models
        assert [reply.text for reply in found] == [reply.text for reply in alone]
        assert [reply.model_sha256 for reply in found] == [reply.model_sha256 for reply in alone]
        assert len({reply.model_sha256 for reply in found}) == 2

    def test_an_empty_answer_has_its_row_and_its_record(self, phi):
        phi.backend = FakeBackend(*[""] * 6)
        found = phi.sweep(HAIKU, temperature=[0, 1], seed=range(3), progress=False)
        assert len(found.frame()) == 6
        assert len(found._repr_mimebundle_()[1]["phi_magic"]["replies"]) == 6

    @pytest.mark.parametrize("options", [{}, {"temperature": 1}, {"seed": []}, {"stop": ["a", "b"]}])
    def test_nothing_swept_is_an_error(self, phi, options):
        with pytest.raises(PhiError, match="nothing is swept"):
            phi.sweep(HAIKU, **options)

    def test_values_are_checked(self, phi):
        with pytest.raises(PhiError, match="temperature must be"):
            phi.sweep(HAIKU, temperature=[1, 99])


def test_a_line_says_of_each_answer_how_long_the_model_thought():
    phi = Phi(model="demo", seed=1)
    phi.backend = FakeBackend([Step(reasoning="Hm", thoughts=2), "Five."], ["Six."])
    grid = parse(["top_k=1,2"])
    stream = phi.stream_all(questions("How many?", grid, {}, None))
    first = next(number for number in stream if stream.replies[number].reasoning)
    assert "(thought for 2 tokens, 0 s)\n…" in [row[-1] for row in table(grid, stream.replies).rows][first]
    stream.run()
    assert [row[-1] for row in table(grid, stream.replies).rows] == ["(thought for 2 tokens, 0 s)\nFive.", "Six."]
