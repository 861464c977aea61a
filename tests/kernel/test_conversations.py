"""Conversations in real kernels: every row of the table in docs/conversations.md, as a front end sends its cells."""

from __future__ import annotations

import nbformat
import papermill
import pytest

from tests.kernel.kernels import LiveKernel
from tests.notebooks import notebook_of, run_notebook

pytestmark = pytest.mark.kernel

SETTINGS = {"model": "'demo'", "seed": 1, "n_threads": 1, "n_ctx": 4096, "max_tokens": 512}
# Loaded again, the extension has no conversations; what %config set stays.
SETUP = "\n".join(["%reload_ext phi_magic", *(f"%config Phi.{name} = {value}" for name, value in SETTINGS.items())])
CELLS = {
    "a": "%%phi -c\nWrite a haiku about ice hockey",
    "b": "%%phi -c\nNow about the sea",
    "c": "%%phi -c\nAnother one",
}


class Page:
    """A notebook in a front end: each cell has an id, which goes along whenever it is run."""

    def __init__(self, kernel, prefix=""):
        self.kernel = kernel
        self.prefix = prefix
        self.run("setup", SETUP)

    def submit(self, cell, code, **metadata):
        return self.kernel.submit(code, **{"cellId": self.prefix + cell, "deletedCells": [], **metadata})

    def run(self, cell, code=None, **metadata):
        done = self.kernel.follow(self.submit(cell, code or CELLS[cell], **metadata))
        assert done.reply["status"] == "ok", done.reply
        return done

    def conversation(self, name="default"):
        """Its questions, and its answers."""
        show = f"for turn in __import__('phi_magic').Phi().chat('{name}').turns: print(repr([turn.reply.prompt, turn.reply.text]))"
        pairs = [eval(line) for line in self.run("show", show).stdout.splitlines()]
        return [question for question, _ in pairs], [answer for _, answer in pairs]

    def questions(self):
        return [question.split()[-1] for question in self.conversation()[0]]


@pytest.fixture(scope="module")
def kernel():
    """One for all: what a test leaves behind, `SETUP` clears."""
    kernel = LiveKernel()
    yield kernel
    kernel.close()


@pytest.fixture(scope="module")
def fresh_kernel():
    """Another one, for what is done after a restart."""
    kernel = LiveKernel()
    yield kernel
    kernel.close()


@pytest.fixture
def page(kernel):
    return Page(kernel)


def notes(execution):
    return [text for shown in execution.displays if (text := shown["data"]["text/plain"]).startswith("default: ")]


def answer(execution):
    [shown] = [shown for shown in execution.displays if "phi_magic" in shown["metadata"]]
    return shown["data"]["text/plain"]


def test_cells_run_in_order_are_the_turns(page):
    answers = [answer(page.run(cell)) for cell in "abc"]
    assert page.questions() == ["hockey", "sea", "one"]
    assert page.conversation()[1] == answers


def test_a_cell_run_again_replaces_its_turn_drops_the_later_ones_and_says_so(page):
    for cell in "abc":
        page.run(cell)
    again = page.run("b", "%%phi -c\nNow about a river")
    assert notes(again) == ["default: turn 2 asked again; 1 turn after it dropped, run their cells again"]
    assert page.questions() == ["hockey", "river"]
    assert notes(page.run("c")) == []
    assert notes(page.run("c")) == ["default: turn 3 asked again"]
    assert page.questions() == ["hockey", "river", "one"]


def stats(execution):
    """The id and the text of the line below an answer."""
    [shown] = [shown for shown in execution.of_type("display_data") if " tokens · " in shown["data"]["text/plain"]]
    return shown["transient"]["display_id"], shown["data"]["text/plain"]


def dropped(execution):
    """The lines that this cell's run marked, by their ids."""
    updates = {shown["transient"]["display_id"]: shown for shown in execution.of_type("update_display_data")}
    return {name for name, shown in updates.items() if "dropped" in shown["data"]["text/plain"]}


def test_the_line_below_an_answer_names_its_turn_and_is_marked_when_that_is_dropped(page):
    lines = {cell: stats(page.run(cell)) for cell in "abc"}
    for number, cell in enumerate("abc", 1):
        assert lines[cell][1].endswith(f" · stop · default: turn {number}")
    again = page.run("a")
    assert dropped(again) == {lines["b"][0], lines["c"][0]}
    [marked] = [shown["data"] for shown in again.displays if shown["transient"].get("display_id") == lines["b"][0]]
    assert marked["text/plain"] == f"{lines['b'][1]} · dropped: the model does not read it any more"
    newest = stats(page.run("b", "%%phi -c -t 1.5 --top-p 0.7\nNow about the sea"))
    assert newest[1].endswith(" · default: turn 2 · temperature 1.5, top-p 0.7")
    assert dropped(page.run("x", "%phi_chat undo")) == {newest[0]}
    first = stats(again)[0]
    assert dropped(page.run("x", "%phi_chat reset")) == {first}
    assert dropped(page.run("x", "%phi_chat reset")) == set()


def test_run_all_gives_the_same_conversation_with_and_without_a_restart(page, fresh_kernel):
    def run_all(page):
        for cell in "abc":
            page.run(cell)
        return page.conversation()

    first = run_all(page)
    assert run_all(page) == first
    page.run("b")  # half of it, then all
    assert run_all(page) == first
    assert run_all(Page(fresh_kernel)) == first


def test_cells_run_out_of_order_are_turns_in_the_order_in_which_they_ran(page):
    for cell in "acb":
        page.run(cell)
    assert page.questions() == ["hockey", "one", "sea"]


def test_a_copied_cell_has_a_turn_of_its_own(page):
    page.run("a")
    page.run("copy of a", CELLS["a"])
    assert page.questions() == ["hockey", "hockey"]


def test_a_moved_cell_keeps_its_turn(page):
    for cell in "ab":
        page.run(cell)
    # Cut and pasted: JupyterLab lists it among the deleted cells, and runs it by the same id.
    page.run("a", deletedCells=["a"])
    assert page.questions() == ["hockey"]
    page.run("b")
    page.run("x", "x = 1", deletedCells=["other"])
    assert page.questions() == ["hockey", "sea"]


def test_reset_at_the_top_makes_run_all_follow_the_page_whatever_was_moved(page):
    for cell in "abc":
        page.run(cell)
    page.run("top", "%phi_chat reset")
    for cell in "cab":
        page.run(cell)
    assert page.questions() == ["one", "hockey", "sea"]


def test_a_deleted_cells_turn_leaves_with_the_next_cell_that_runs(page):
    for cell in "abc":
        page.run(cell)
    page.run("x", "x = 1", deletedCells=["b"])
    assert page.questions() == ["hockey", "one"]


def test_undo_stands_in_where_the_front_end_does_not_tell_of_deleted_cells(page):
    for cell in "ab":
        page.run(cell)
    assert page.run("undo", "%phi_chat undo").stdout == "default: turn 2 dropped: Now about the sea\n"
    assert page.questions() == ["hockey"]


def test_a_cell_that_asks_in_a_loop_has_all_its_turns(page):
    loop = (
        "for word in ('ice', 'sea'):\n    get_ipython().run_cell_magic('phi', '-q -c', f'Write a haiku about {word}')\n"
        "def ask(line):\n    get_ipython().run_line_magic('phi', line)\nask('-q -c Another one')"
    )
    page.run("loop", loop)
    page.run("b")
    assert page.questions() == ["ice", "sea", "one", "sea"]
    page.run("loop", loop)
    assert page.questions() == ["ice", "sea", "one"]


def test_an_awaited_cell_and_a_thread_ask_too(page):
    page.run("top", "import asyncio, threading")
    page.run("a", "await asyncio.sleep(0)\n%phi -q -c Hello ice")
    page.run(
        "b",
        "thread = threading.Thread(target=get_ipython().run_line_magic, args=('phi', '-q -c Hello sea'))\n"
        "thread.start()\nthread.join()",
    )
    assert page.questions() == ["ice", "sea"]


def test_a_question_that_fails_is_no_turn(page):
    for cell in "ab":
        page.run(cell)
    done = page.kernel.follow(page.submit("b", "%%phi -c -m none.gguf\nNow about the sea"))
    assert done.reply["ename"] == "UsageError"
    assert page.questions() == ["hockey"]
    page.run("c")
    assert page.questions() == ["hockey", "one"]


def test_an_option_that_is_wrong_changes_nothing(page):
    for cell in "ab":
        page.run(cell)
    done = page.kernel.follow(page.submit("a", "%%phi -c -t 99\nNow about the sea"))
    assert done.reply["ename"] == "UsageError"
    assert page.questions() == ["hockey", "sea"]


def test_an_interrupted_answer_is_a_turn_and_the_conversation_goes_on(page, slow_model):
    page.run("a")
    interrupt = page.kernel.interrupt_once(lambda message: message["msg_type"] == "update_display_data")
    asked = page.submit("b", f"%%phi -c -n 2000 -o half -m {slow_model}\nNow about the sea")
    assert page.kernel.follow(asked, interrupt).reply["ename"] == "KeyboardInterrupt"
    page.run("c", "%%phi -c -o reply\nAnother one")
    assert page.questions() == ["hockey", "sea", "one"]
    checks = "print(half.finish_reason, bool(half.text), reply.messages[3]['content'] == half.text)"
    assert page.run("d", checks).stdout == "interrupted True True\n"


def test_a_conversation_longer_than_the_context_says_what_it_left_out(page):
    page.run("top", "%config Phi.n_ctx = 128\n%config Phi.max_tokens = 20")
    for number in range(8):
        done = page.run(f"cell {number}", "%%phi -c -o reply\nNow about the sea")
    assert "oldest turns left out" in done.displays[-1]["data"]["text/plain"]
    assert page.run("x", "print(reply.left_out > 0, len(reply.messages))").stdout == "True 14\n"


def test_vs_codes_ids_are_ids(kernel):
    page = Page(kernel, prefix="vscode-notebook-cell:/home/me/haiku.ipynb#")
    for cell in "aba":
        page.run(cell)
    assert page.questions() == ["hockey"]


def test_show_is_markdown_that_a_notebook_keeps(page):
    page.run("a")
    [shown] = page.run("x", "%phi_chat show").displays
    assert shown["data"]["text/markdown"].startswith("**1. You:** Write a haiku about ice hockey\n\n**demo:**\n\n")


def test_a_saved_conversation_goes_on_in_a_fresh_kernel(page, fresh_kernel, tmp_path):
    for cell in "ab":
        page.run(cell)
    before = page.conversation()
    page.run("x", f"%phi_chat save default {tmp_path / 'talk.json'}")
    other = Page(fresh_kernel)
    other.run("x", f"%phi_chat read default {tmp_path / 'talk.json'}")
    assert other.conversation() == before
    assert notes(other.run("b")) == ["default: turn 2 asked again"]
    assert other.conversation() == before


class TestWithoutCellIds:
    """nbclient and papermill send none: each run of a notebook is one pass, and turns are appended."""

    def test_nbclient_gives_the_same_conversation_each_time(self):
        cells = [SETUP, *CELLS.values(), "%phi_chat show"]
        first, second = (run_notebook(notebook_of(*cells)) for _ in range(2))
        shown = [notebook.cells[-1].outputs[0]["data"]["text/plain"] for notebook in (first, second)]
        assert shown[0] == shown[1]
        assert shown[0].count("You:") == 3

    def test_papermill_fills_in_parameters(self, tmp_path):
        notebook = notebook_of("topic = 'ice'", SETUP, "%%phi -c\nWrite a haiku about {{ topic }}", "%phi_chat show")
        notebook.cells[0].metadata["tags"] = ["parameters"]
        source, target = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
        nbformat.write(notebook, source)
        papermill.execute_notebook(source, target, {"topic": "the sea"}, progress_bar=False)
        done = nbformat.read(target, as_version=4)
        assert "about the sea" in done.cells[-1].outputs[0]["data"]["text/plain"]
