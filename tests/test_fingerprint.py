"""Which file a model was: in every reply, computed once for a file, and nobody waits for it but the end of a first answer."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from importlib.resources import files
from pathlib import Path

import pytest

from phi_magic import Phi, PhiError
from phi_magic.display import TerminalView
from phi_magic.interrupt import Stop
from phi_magic.models import fingerprint
from phi_magic.models.fingerprint import Identity, file_sha256
from phi_magic.paths import cache_folder

DEMO = Path(str(files("phi_magic") / "demo" / "phi-demo.gguf"))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"one")
    return path


@pytest.fixture
def computed(monkeypatch):
    """The paths whose hash was computed rather than remembered."""
    real, paths = fingerprint.sha256_of, []
    monkeypatch.setattr(fingerprint, "sha256_of", lambda path: paths.append(path) or real(path))
    return paths


def remembered():
    return [file for file in cache_folder().rglob("*") if file.is_file()]


def test_a_hash_is_computed_once_while_the_file_stays(path, computed):
    one = file_sha256(path)
    assert one == file_sha256(path) == hashlib.sha256(b"one").hexdigest()
    assert computed == [path]
    path.write_bytes(b"another")
    assert file_sha256(path) == hashlib.sha256(b"another").hexdigest()
    assert len(remembered()) == 1


def test_a_file_of_the_same_size_with_another_time_is_read_again(path, computed):
    file_sha256(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(0, 0))
    assert file_sha256(path) == hashlib.sha256(b"two").hexdigest()
    assert len(computed) == 2


def test_two_paths_of_one_file_are_distinguished_from_two_files(path, tmp_path, computed):
    link = tmp_path / "link.gguf"
    link.symlink_to(path)
    assert file_sha256(link) == file_sha256(path)
    assert len(computed) == 1
    link.unlink()
    shutil.copy2(path, link)
    link.write_bytes(b"two")
    assert file_sha256(link) != file_sha256(path)


def test_another_process_need_not_read_the_file(path):
    sha256 = file_sha256(path)
    code = (
        "import sys; from pathlib import Path; from phi_magic.models import fingerprint\n"
        "fingerprint.sha256_of = None\nprint(fingerprint.file_sha256(Path(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == sha256


@pytest.mark.parametrize(
    "damaged", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"sha256": 5}', b"[" * 100_000, b'{"sha256": "0"} and more']
)
def test_a_damaged_memory_is_ignored_and_written_again(path, damaged, computed):
    sha256 = file_sha256(path)
    [memory] = remembered()
    told = memory.read_bytes()
    memory.write_bytes(damaged)
    assert file_sha256(path) == sha256
    assert len(computed) == 2
    assert memory.read_bytes() == told


def test_a_file_that_is_written_meanwhile_is_not_remembered(path, monkeypatch):
    monkeypatch.setattr(fingerprint, "sha256_of", lambda path: path.write_bytes(b"longer than before") and "half of it")
    file_sha256(path)
    monkeypatch.undo()
    assert file_sha256(path) == hashlib.sha256(b"longer than before").hexdigest()


def test_many_threads_and_processes_at_once_agree(path):
    code = "import sys; from pathlib import Path; from phi_magic.models.fingerprint import file_sha256\n"
    code += "for _ in range(200): print(file_sha256(Path(sys.argv[1])))\n"
    code += "for memory in Path(sys.argv[2]).rglob('*.json'): memory.unlink(missing_ok=True)\n" * 2
    children = [
        subprocess.Popen([sys.executable, "-c", code, path, cache_folder()], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = {line for child in children for line in child.communicate()[0].splitlines()}
    assert said == {hashlib.sha256(b"one").hexdigest()}
    assert all(child.returncode == 0 for child in children)
    assert all(json.loads(memory.read_text()) for memory in remembered())


def test_a_cache_that_cannot_be_written_costs_time_alone(path, tmp_path, monkeypatch, computed):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert file_sha256(path) == file_sha256(path) == hashlib.sha256(b"one").hexdigest()
    assert len(computed) == 2


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(PhiError, match="cannot be read"):
        file_sha256(tmp_path / "nothing.gguf")


def test_a_model_by_its_path_is_recorded_with_its_hash():
    shutil.copy(DEMO, "mine.gguf")
    reply = Phi(model="mine.gguf")("Write a haiku", max_tokens=2)
    assert reply.to_dict()["model_sha256"] == hashlib.sha256(DEMO.read_bytes()).hexdigest()


def test_many_at_once_are_recorded_too():
    shutil.copy(DEMO, "mine.gguf")
    replies = Phi(model="mine.gguf", max_tokens=2).map(["Ice", "Snow"], progress=False)
    assert {reply.model_sha256 for reply in replies} == {hashlib.sha256(DEMO.read_bytes()).hexdigest()}


def test_an_interrupt_does_not_wait_for_it(monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(fingerprint, "file_sha256", lambda path: never.wait() and "")
    stop = Stop()
    stop.set()
    slow = Identity(DEMO)
    slow.wait(stop)
    assert slow.sha256 is None
    never.set()


def test_a_file_that_goes_away_has_none():
    gone = Identity(Path("gone.gguf"))
    gone.wait(Stop())
    assert gone.sha256 is None


def test_the_hub_s_cache_bears_it_as_a_name():
    assert Identity(Path("not-read.gguf"), "f" * 64).sha256 == "f" * 64


class TestShownFirst:
    """A whole answer is shown before its model's hash is waited for."""

    @pytest.fixture
    def ip(self, shell):
        shutil.copy(DEMO, "mine.gguf")
        shell.kernel = None  # what a notebook's shell has
        shell.run_line_magic("load_ext", "phi_magic")
        for setting in ("model = 'mine.gguf'", "refresh_interval = 60", "max_tokens = 12", "seed = 1", "n_threads = 1"):
            shell.run_line_magic("config", f"Phi.{setting}")
        return shell

    @pytest.fixture
    def waits(self, ip, monkeypatch):
        """What was shown last whenever the hash was waited for; it is computed from then on."""
        awaited, waits = threading.Event(), []
        real, wait = fingerprint.sha256_of, Identity.wait
        monkeypatch.setattr(fingerprint, "sha256_of", lambda path: awaited.wait(60) and real(path))

        def shown(identity, stop):
            waits.append(ip.display_pub.outputs[-1]["data"]["text/plain"])
            awaited.set()
            wait(identity, stop)

        monkeypatch.setattr(Identity, "wait", shown)
        return waits

    @pytest.mark.parametrize("options", ["", "--no-stream", "-f html", "--cache answers.sqlite"])
    def test_of_a_cell(self, ip, waits, options):
        reply = ip.run_cell_magic("phi", options, "Write a haiku")
        assert waits[0].split() == reply.text.split()
        final = [one for one in ip.display_pub.outputs if "phi_magic" in one["metadata"]][-1]
        assert final["metadata"]["phi_magic"]["model_sha256"] == reply.model_sha256 == file_sha256(DEMO)

    def test_in_a_terminal(self, ip, waits, capsys):
        del ip.kernel
        stream = Phi(model="mine.gguf", max_tokens=12, seed=1).stream("Write a haiku")
        view = TerminalView(sys.stdout, sys.stderr, stream=False)
        ip.display_pub.outputs.append({"data": {"text/plain": ""}})
        for piece in stream:
            view.grow(stream.reply, piece)
        assert waits == [""]
        assert capsys.readouterr().out == stream.reply.text
        view.finish(stream.reply)
        assert capsys.readouterr().out.strip() == ""

    def test_of_a_sweep(self, ip, waits):
        ip.run_cell_magic("phi_sweep", "seed=1,2 -o frame", "Write a haiku")
        assert all(text.split()[0] in waits[0] for text in ip.user_ns["frame"]["text"])
        assert "interrupted" not in waits[0]

    def test_of_a_map(self, ip, waits):
        ip.user_ns["rows"] = ["ice", "snow"]
        ip.run_cell_magic("phi_map", "rows -o replies", "Write a haiku about {{ text }}")
        assert "2 of 2 rows" in waits[0]

    def test_a_cached_answer_is_kept_once_the_hash_is_known(self, ip, waits):
        first = ip.run_cell_magic("phi", "--cache answers.sqlite", "Write a haiku")
        assert not first.from_cache
        again = ip.run_cell_magic("phi", "--cache answers.sqlite", "Write a haiku")
        assert again.from_cache
        assert again.text == first.text
