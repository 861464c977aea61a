"""%phi and %%phi in a shell, on the shipped model."""

import json
from pathlib import Path

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError

from phi_magic import Phi
from phi_magic.models.files import KNOWN
from phi_magic.options import ASKING, CELL
from phi_magic.rendering.formats import FORMS
from phi_magic.rendering.token_shading import to_text
from tests.fake_backend import FakeBackend

HAIKU = "Write a haiku about ice hockey"


@pytest.fixture
def ip(shell):
    shell.run_line_magic("load_ext", "phi_magic")
    shell.run_line_magic("config", "Phi.model = 'demo'")
    return shell


def ask(ip, line, cell=None):
    """The Reply to a question; ``-o`` is added."""
    options = f"-o answer {line}"
    if cell is None:
        ip.run_line_magic("phi", options)
    else:
        ip.run_cell_magic("phi", options, cell)
    return ip.user_ns["answer"]


class TestAsking:
    def test_a_line_and_a_cell_ask_the_same(self, ip):
        assert ask(ip, f"--seed 1 {HAIKU}").text == ask(ip, "--seed 1", f"{HAIKU}\n").text

    def test_the_answer_is_a_haiku(self, ip):
        assert len(ask(ip, "-t 0", HAIKU).text.strip().splitlines()) == 3

    def test_a_seed_gives_the_same_text_again_and_another_one_another(self, ip):
        texts = {seed: ask(ip, f"--seed {seed} -t 1", HAIKU).text for seed in range(6)}
        ask(ip, "", "What is a token?")
        assert {seed: ask(ip, f"--seed {seed} -t 1", HAIKU).text for seed in range(6)} == texts
        assert len(set(texts.values())) > 1

    def test_without_a_seed_a_fresh_one_is_reported_and_gives_the_text_again(self, ip):
        first = ask(ip, "", HAIKU)
        assert ask(ip, f"--seed {first.seed}", HAIKU).text == first.text
        assert ask(ip, "", HAIKU).seed != first.seed

    def test_variables_are_filled_in(self, ip):
        ip.user_ns["topic"] = "the sea"
        assert ask(ip, "-n 1", "Write about {{ topic }}").prompt == "Write about the sea"
        assert ask(ip, "-n 1 --no-vars", "Write about {{ topic }}").prompt == "Write about {{ topic }}"

    def test_braces_and_dollars_of_a_line_are_plain_text(self, ip):
        ip.user_ns["x"] = 1
        assert ask(ip, "-n 1 is {x} or $x").prompt == "is {x} or $x"

    def test_an_option_holds_for_its_cell_alone(self, ip):
        assert ask(ip, "-t 0.1 -n 2", HAIKU).params["temperature"] == 0.1
        reply = ask(ip, "", HAIKU)
        assert (reply.params["temperature"], reply.params["max_tokens"]) == (0.8, 512)

    def test_config_holds_for_those_that_follow(self, ip):
        ip.run_line_magic("config", "Phi.max_tokens = 2")
        reply = ask(ip, "", HAIKU)
        assert (reply.usage.completion_tokens, reply.finish_reason) == (2, "length")

    def test_an_answer_ends_before_its_stop_string(self, ip):
        whole = ask(ip, "-t 0", HAIKU).text
        first_line = whole.splitlines()[0]
        reply = ask(ip, r"-t 0 --stop '\n'", HAIKU)
        assert (reply.text, reply.finish_reason) == (first_line, "stop")

    def test_raw_goes_to_the_model_as_it_is(self, ip):
        reply = ask(ip, "--raw -t 0", f"<|user|>\n{HAIKU}<|end|>\n<|assistant|>\n")
        assert reply.text.strip() == ask(ip, "-t 0", HAIKU).text.strip()

    def test_a_control_token_in_a_prompt_is_plain_text(self, ip):
        plain = ask(ip, "-n 1", "a b").usage.prompt_tokens
        assert ask(ip, "-n 1", "a <|end|> b").usage.prompt_tokens > plain + 3


class TestReturned:
    """``answer = %phi …`` binds the Reply; what was shown as it came is not shown again."""

    def test_the_reply_can_be_assigned(self, ip, capsys):
        ip.run_cell("answer = %phi --seed 1 -n 3 Hello")
        assert ip.user_ns["answer"].usage.completion_tokens == 3
        assert capsys.readouterr().out.strip() == ip.user_ns["answer"].text

    @pytest.mark.parametrize(
        "cell", ["%phi -n 3 -o answer Hello", "%%phi -n 3 -o answer\nHello", "%time %phi -n 3 Hello"]
    )
    def test_a_cell_that_asks_shows_the_answer_once(self, ip, capsys, cell):
        ip.run_cell(cell)
        assert "Out[" not in capsys.readouterr().out

    def test_the_variable_alone_shows_it(self, ip, capsys):
        ip.run_cell("answer = %phi -q -n 3 Hello\nanswer")
        assert capsys.readouterr().out == f"Out[0]: {ip.user_ns['answer'].text}\n"


class TestQuestionMarks:
    @pytest.mark.parametrize(
        "cell",
        [
            "%phi -q -n 1 -o answer What does the temperature do?",
            "answer = %phi -q -n 1 What does the temperature do?",
            "if True:\n    %phi -q -n 1 -o answer What does the temperature do?",
            "%time %phi -q -n 1 -o answer What does the temperature do?",
            "f = 1; %phi -q -n 1 -o answer What does the temperature do?",
        ],
    )
    def test_a_question_is_asked(self, ip, cell):
        assert ip.run_cell(cell).success
        assert ip.user_ns["answer"].prompt == "What does the temperature do?"

    def test_help_is_still_help(self, ip, capsys):
        for cell in ("%phi?", "len?"):
            ip.run_cell(cell)
            assert "Docstring" in capsys.readouterr().out

    def test_a_text_that_holds_such_a_line_stays_as_it_is(self, ip):
        ip.run_cell('text = """\n%phi What?\n"""')
        assert ip.user_ns["text"] == "\n%phi What?\n"


class TestShown:
    def test_the_answer_and_a_line_below(self, ip, capsys):
        ip.run_cell_magic("phi", "-t 0 --seed 3", HAIKU)
        shown = capsys.readouterr()
        assert len(shown.out.strip().splitlines()) == 3
        assert "seed 3" in shown.err

    def test_quiet_shows_nothing(self, ip, capsys):
        ask(ip, "-q", HAIKU)
        assert capsys.readouterr() == ("", "")


class TestMistakes:
    @pytest.mark.parametrize(
        ("line", "cell", "says"),
        [
            ("", "", "empty"),
            ("", "  \n ", "empty"),
            ("--temprature 1", "x", "did you mean --temperature"),
            ("-t 9", "x", "temperature must be"),
            ("-t nan", "x", "temperature must be"),
            ("hello", "x", "the prompt goes below"),
            ("-s be brief", "x", "for a value of several words write --system 'be brief'"),
            ("--schema Foo", "x", "there is no variable Foo; did you mean Food?"),
            ("-o 1x", "x", "variable"),
            ("", "{{ nope }}", "'nope' is undefined"),
            ("", "{{ nope", "line 1"),
            ("-m nope", "x", "unknown model"),
            ("-m nope/x.gguf", "x", "no such file"),
            ("-m .", "x", "folder"),
            ("-m no.gguf", "x", "not a GGUF"),
            ("-m cut.gguf", "x", "incomplete"),
            ("--raw", "word " * 3000, "context"),
        ],
    )
    def test_each_is_one_line_of_usage_error(self, ip, line, cell, says):
        from importlib.resources import files

        ip.user_ns["Food"] = {"type": "object"}
        Path("no.gguf").write_bytes(b"<html>no</html>")
        Path("cut.gguf").write_bytes((files("phi_magic") / "demo" / "phi-demo.gguf").read_bytes()[:-1000])
        with pytest.raises(UsageError) as error:
            ip.run_cell_magic("phi", line, cell)
        assert type(error.value) is UsageError
        assert says in str(error.value)
        assert "\n" not in str(error.value)


class TestExtension:
    def test_unloading_leaves_the_shell_as_it_was(self, shell):
        def state():
            tables = shell.magics_manager.magics
            return (
                {kind: set(table) for kind, table in tables.items()},
                # IPython makes some of its own magics when they are first used
                [each for each in shell.configurables if not type(each).__module__.startswith("IPython.core.magics")],
                [each for each in shell.magics_manager.registry.values() if type(each).__module__.startswith("phi")],
                {name for name in shell.user_ns if not name.startswith("_")},
                list(shell.input_transformer_manager.token_transformers),
                list(shell.ast_transformers),
                list(shell.Completer.custom_matchers),
            )

        before = state()
        shell.run_line_magic("load_ext", "phi_magic")
        assert state() != before
        shell.run_cell_magic("phi", "-m demo -n 2 -q", HAIKU)
        shell.run_line_magic("unload_ext", "phi_magic")
        assert state() == before
        from phi_magic.generation.worker import shared

        assert shared.pid is None

    def test_reloading_works_and_leaks_nothing(self, ip):
        count = len(ip.configurables)
        for _ in range(3):
            ip.run_line_magic("reload_ext", "phi_magic")
        assert len(ip.configurables) == count
        assert ask(ip, "-m demo -n 2", HAIKU).text

    @pytest.mark.parametrize(
        "step",
        [
            "phi_magic.magics.forget",
            "phi_magic.generation.worker.shared.close",
            "phi_magic.widgets.cells.close_all",
            "phi_magic.magics._remove",
        ],
    )
    def test_a_step_that_raises_keeps_no_other_from_unloading(self, ip, monkeypatch, step):
        from phi_magic import conversation
        from phi_magic.widgets import cells

        def fail(*_):
            raise RuntimeError("a step failed")

        ask(ip, "-m demo -n 2 -c trip", HAIKU)
        cells.keep(lambda: None)
        with monkeypatch.context() as patch:
            patch.setattr(step, fail)
            with pytest.raises(RuntimeError, match="a step failed"):
                ip.run_line_magic("unload_ext", "phi_magic")
        assert (conversation.names() == []) is (step != "phi_magic.magics.forget")
        assert (not cells._shown) is (step != "phi_magic.widgets.cells.close_all")
        assert ("phi" not in ip.magics_manager.magics["line"]) is (step != "phi_magic.magics._remove")
        ip.run_line_magic("reload_ext", "phi_magic")
        assert ask(ip, "-m demo -n 2", HAIKU).text

    def test_loading_twice_registers_everything_once(self, ip):
        import phi_magic

        def counts():
            return [
                len(ip.configurables),
                len(ip.input_transformer_manager.token_transformers),
                len(ip.ast_transformers),
                len(ip.Completer.custom_matchers),
                {event: len(listeners) for event, listeners in ip.events.callbacks.items()},
            ]

        before = counts()
        phi_magic.load_ipython_extension(ip)
        assert counts() == before

    def test_while_a_stream_is_half_read_it_reloads_too(self, ip, capsys, slow_model):
        ip.user_ns["model"] = str(slow_model)
        ip.run_cell("from phi_magic import Phi\nstream = Phi(model=model).stream('Hello')\nnext(stream)")
        assert ip.run_cell("%reload_ext phi_magic").success
        ip.run_cell("stream.run()")
        assert "the model was unloaded before the answer was whole" in capsys.readouterr().out
        assert ip.user_ns["stream"].reply.text
        assert ip.run_cell("%reload_ext phi_magic").success
        assert ask(ip, "-m demo -n 2", HAIKU).text

    def test_config_shows_every_trait_with_its_help(self, ip, capsys):
        ip.run_line_magic("config", "Phi")
        shown = capsys.readouterr().out
        for name in ("temperature", "top_p", "seed", "keep_alive", "n_ctx"):
            assert f"Phi.{name}" in shown

    @pytest.mark.parametrize("value", ["99", "'hot'"])
    def test_a_value_out_of_bounds_is_one_line_and_changes_nothing(self, ip, value, caplog, capsys):
        ip.run_line_magic("config", f"Phi.temperature = {value}")
        said = capsys.readouterr()
        assert said.out + said.err == f"UsageError: temperature must be a number from 0 to 5, not {value}\n"
        assert not caplog.records
        assert ask(ip, "-n 1", HAIKU).params["temperature"] == 0.8

    def test_the_config_file_sets_the_traits(self, config, shell):
        shell.config.Phi.max_tokens = 3
        shell.run_line_magic("load_ext", "phi_magic")
        assert ask(shell, "-m demo", HAIKU).usage.completion_tokens == 3

    def test_the_environment_sets_the_model(self, shell, monkeypatch):
        monkeypatch.setenv("PHI_MAGIC_MODEL", "demo")
        shell.run_line_magic("load_ext", "phi_magic")
        assert ask(shell, "-n 1", HAIKU).model == "demo"

    def test_tab_completes_options_and_models(self, ip):
        def offered(line):
            with provisionalcompleter():
                return [completion.text for completion in ip.Completer.completions(line, len(line))]

        assert offered("%phi --te") == ["--temperature", "--temp"]
        assert offered("%%phi --top") == ["--top-p", "--top-k", "--top-logprobs"]
        assert offered("%%phi -m phi-3") == ["phi-3-mini-4k", "phi-3.5-mini"]

    def test_what_fits_is_offered_alone(self, ip):
        ip.user_ns |= {"my_schema": {"type": "object"}, "my_number": 7}

        def offered(line):
            with provisionalcompleter():
                return [completion.text for completion in ip.Completer.completions(line, len(line))]

        flags = [flag for option in (*ASKING, *CELL) for flag in option.flags]
        assert offered("%%phi -") == offered("%%phi ") == offered("%phi -t 0.2 ") == flags
        assert offered("%%phi --") == [flag for flag in flags if flag.startswith("--")]
        assert offered("%%phi -m ") == offered("%phi --model=") == offered("x = %phi -m ") == list(KNOWN)
        assert offered("%%phi -f ") == [*FORMS, "tokens"]
        for line in (
            "%%phi -t ",
            "%%phi --seed ",
            "%%phi -n 5",
            "%%phi_map df --executor ",
            "%phi_explore ",
            "%%phi_map ",
        ):
            assert offered(line) == [], line
        assert (
            offered("%%phi --schema my") == offered("%%phi --schema=my") == offered("%phi --schema ") == ["my_schema"]
        )
        del ip.user_ns["my_schema"]
        assert offered("%%phi --schema ") == []
        Path("person.json").touch()
        assert "person.json" in offered("%%phi --schema per")

    def test_in_a_prompt_the_variables_are_offered(self, ip):
        ip.user_ns["my_number"] = 7
        with provisionalcompleter():
            cell = "%%phi -t 0\nIs {{ my_nu"
            assert "my_number" in [completion.text for completion in ip.Completer.completions(cell, len(cell))]

    def test_help_explains_each_option_with_bounds_and_default(self, ip):
        text = ip.find_line_magic("phi").__doc__
        assert "--temperature" in text
        assert "from 0 to 5" in text
        assert "Default: 0.95" in text


class TestLoneSurrogates:
    @pytest.mark.parametrize(
        "cell",
        [
            "%phi -n 3 {{ x }}",
            "%%phi -n 3 -f tokens\n{{ x }}",
            "%%phi -n 3 -c\n{{ x }}",
            "%%phi -n 3 --choices a,b\n{{ x }}",
            "%%phi_sweep seed=1,2 -n 3\n{{ x }}",
            "%%phi_score --after x\n{{ x }}",
            "%%phi_map [x] -n 2\n{{ text }} {{ x }}",
            "%phi_tokens {{ x }}",
            "reply.show_tokens()",
        ],
    )
    def test_what_is_shown_can_be_sent_to_a_front_end(self, ip, cell):
        ip.kernel = None
        ip.user_ns["x"] = "a\ud800b"
        ip.user_ns["reply"] = ask(ip, "-n 2", "{{ x }}")
        ip.display_pub.outputs.clear()
        assert ip.run_cell(cell).success
        assert ip.display_pub.outputs
        for output in ip.display_pub.outputs:
            assert json.dumps(output, ensure_ascii=False, default=str).encode()

    def test_a_reply_that_holds_one_is_displayed(self, ip, monkeypatch):
        monkeypatch.setattr(Phi, "backend", FakeBackend("an\ud800swer"))
        shown = ip.display_formatter.format(ask(ip, "-q", "{{ 'x' }}"))
        assert json.dumps(shown, ensure_ascii=False).encode()


def test_in_a_terminal_tokens_stand_below_the_answer_with_their_probabilities(ip, capsys):
    reply = ask(ip, "-f tokens --seed 1 -n 4", HAIKU)
    shown = capsys.readouterr().out
    assert shown.startswith(f"{reply.text}\n")
    assert to_text(reply.tokens).rstrip() in shown
