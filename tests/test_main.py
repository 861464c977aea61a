"""python -m phi_magic, as a shell sees it."""

import os
import signal
import subprocess
import sys
import time

import pytest

HAIKU = "Write a haiku about ice hockey"


def phi(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "phi_magic", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def test_a_prompt_is_answered_on_standard_output():
    done = phi(HAIKU, "-m", "demo", "--seed", "1")
    assert done.returncode == 0
    assert done.stdout.strip()
    assert done.stderr == ""
    assert phi(HAIKU, "-m", "demo", "--seed", "1").stdout == done.stdout


def test_a_prompt_can_come_on_standard_input():
    asked = phi(HAIKU, "-m", "demo", "--seed", "1").stdout
    assert phi("-m", "demo", "--seed", "1", input=HAIKU).stdout == asked


def test_words_need_no_quotes():
    assert phi("-m", "demo", "--seed", "1", *HAIKU.split()).stdout == phi(HAIKU, "-m", "demo", "--seed", "1").stdout


def test_the_environment_names_the_model():
    assert phi(HAIKU, "-n", "3", env={**os.environ, "PHI_MAGIC_MODEL": "demo"}).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-m", "nope", "x"], "unknown model 'nope'"),
        (["-m", "demo", "-t", "9", "x"], "temperature must be a number from 0 to 5, not '9'"),
        (["-m", "demo", ""], "the prompt is empty"),
        (["-m", "demo", "--temprature", "1", "x"], "--temprature"),
    ],
)
def test_a_usage_mistake_is_status_2_and_one_line(arguments, says):
    done = phi(*arguments, input="")
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_reader_that_closes_the_pipe_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m phi_magic -m demo -t 2 --seed 1 --raw x | head -c 3; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == ""


def shell(line, **environment):
    """A line for bash, in which "phi" is the command with the demo model."""
    command = f"{sys.executable} -m phi_magic -m demo --seed 1"
    return subprocess.run(
        ["bash", "-c", line.replace("phi ", f"{command} ")],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "status", "says"),
    [
        ("phi hi > /dev/full", 1, "the output cannot be written: No space left on device"),
        ("phi --no-stream hi > /dev/full", 1, "the output cannot be written: No space left on device"),
        ("phi hi >&-", 2, "standard output is closed"),
        ("phi <&-", 2, "the prompt is empty"),
        (r"printf 'a\xff' | phi ", 2, "standard input is not in utf-8: byte 1"),
        ("phi replay a.ipynb", 2, "replay comes before all options"),
        ("phi -n 3 map rows.csv", 2, "map comes before all options"),
    ],
)
def test_what_the_shell_cannot_give_or_take_is_one_line(line, status, says):
    done = shell(line)
    assert done.returncode == status
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_a_closed_stream_that_is_not_needed_changes_nothing(closed):
    asked = phi(HAIKU, "-m", "demo", "--seed", "1").stdout
    done = shell(f"phi '{HAIKU}' {closed}")
    assert (done.returncode, done.stdout, done.stderr) == (0, asked, "")


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["ascii", "C"],
)
def test_what_the_output_cannot_say_is_a_question_mark(environment):
    asked = phi("Write a haiku about the sea", "-m", "demo", "-t", "0").stdout
    assert not asked.isascii()
    done = shell("phi -t 0 Write a haiku about the sea", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == asked.encode("ascii", "replace").decode()


def test_another_ctrl_c_does_not_break_into_the_end():
    program = (
        "import os, signal, sys\n"
        "from phi_magic import __main__ as terminal\n"
        "def interrupted(given):\n"
        "    raise KeyboardInterrupt\n"
        "terminal._answer, sys.argv = interrupted, ['phi-magic', 'Hi']\n"
        "status = terminal.main()\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.exit(status)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "")


def test_ctrl_c_is_status_130_and_keeps_the_text(slow_model):
    process = subprocess.Popen(
        [sys.executable, "-m", "phi_magic", "-m", str(slow_model), "-n", "4000", "write"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    text = process.stdout.read(20)
    asked = time.perf_counter()
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=20)
    assert time.perf_counter() - asked < 2  # Python's own exit included
    assert process.returncode == 130
    assert (text + rest).decode().endswith("\n")
    assert b"Traceback" not in errors
