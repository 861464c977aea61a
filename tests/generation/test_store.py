"""The file that keeps answers."""

import logging
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from phi_magic import Phi, PhiError
from phi_magic.generation import store as stores
from phi_magic.generation.backend import Finished, Started, Step
from phi_magic.generation.store import Store, opened

HAIKU = "Write a haiku about ice hockey"
EVENTS = [Started(prompt_tokens=3), Step(text="Hi", at=1.0), Finished(reason="stop", at=2.0)]


@pytest.fixture
def phi(tmp_path):
    return Phi(model="demo", seed=1, max_tokens=12, cache=str(tmp_path / "answers.sqlite"))


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store.sqlite")
    yield store
    store.close()


def test_a_foreign_file_is_refused_by_name(tmp_path):
    path = tmp_path / "mine.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (a)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(PhiError, match=r"mine\.sqlite: is another program's file"):
        Phi(model="demo", seed=1, cache=str(path))(HAIKU)
    assert path.read_bytes() == before


def test_what_is_no_database_is_refused_by_name(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("important " * 500)
    with pytest.raises(PhiError, match=r"notes\.txt: cannot be used as a cache \(file is not a database\)"):
        Phi(model="demo", seed=1, cache=str(path))(HAIKU)
    assert path.read_text() == "important " * 500


def test_a_damaged_one_is_refused_by_name(tmp_path):
    store = Store(tmp_path / "damaged.sqlite")
    for number in range(200):
        store.put(number.to_bytes(32, "big"), [Started(), Step(text="x" * 500), Finished(reason="stop")])
    store.close()
    data = bytearray((tmp_path / "damaged.sqlite").read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    (tmp_path / "damaged.sqlite").write_bytes(data)
    with pytest.raises(PhiError, match=r"damaged\.sqlite: cannot be used as a cache"):
        Store(tmp_path / "damaged.sqlite").get((5).to_bytes(32, "big"))


def test_a_folder_that_cannot_be_written_is_named():
    with pytest.raises(PhiError, match=r"/proc/answers/a: cannot be used as a cache \([^/]*\); name another file"):
        Store(Path("/proc/answers/a"))


def test_nobody_is_told_to_delete_a_folder(tmp_path):
    with pytest.raises(
        PhiError, match=r"cannot be used as a cache \(unable to open database file\); name another file"
    ):
        Store(tmp_path)


def test_a_full_disk_is_one_line_and_the_answers_go_on(phi, caplog):
    store = opened(phi.cache)
    store._connection.execute("PRAGMA max_page_count = 1")
    with caplog.at_level(logging.WARNING, "phi_magic"):
        texts = [phi(HAIKU, seed=seed, max_tokens=200).text for seed in range(4)]
    assert all(texts)
    [record] = caplog.records
    assert record.getMessage().endswith("answers are not kept: database or disk is full")
    stores._opened.cache_clear()


def test_the_least_used_answers_make_room(tmp_path):
    store = Store(tmp_path / "small.sqlite", largest=300_000)
    keys = [number.to_bytes(32, "big") for number in range(100)]
    for key in keys:
        store.put(key, [Started(), Step(text="x" * 10_000), Finished(reason="stop")])
        assert store.get(keys[0])  # this one stays in use
        time.sleep(0.001)
    count, size = store.size()
    assert 5 < count < 40
    assert size <= 310_000
    assert store.get(keys[0])
    assert store.get(keys[1]) is None
    store.close()


def test_what_was_put_is_what_comes(store):
    store.put(b"key", EVENTS)
    assert store.get(b"key") == EVENTS
    assert store.get(b"other") is None
    store.clear()
    assert store.size()[0] == 0


def test_several_use_it_at_once(tmp_path):
    path = tmp_path / "shared.sqlite"
    program = (
        "import sys\nfrom pathlib import Path\nfrom phi_magic.generation.store import Store\n"
        "from phi_magic.generation.backend import Finished, Started, Step\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for n in range(200):\n"
        "    store.put(f'{sys.argv[2]} {n}'.encode(), [Started(), Step(text=str(n)), Finished(reason='stop')])\n"
        "    assert store.get(f'{sys.argv[2]} {n}'.encode())\n"
    )
    others = [subprocess.Popen([sys.executable, "-c", program, str(path), str(name)]) for name in range(3)]
    assert [other.wait() for other in others] == [0, 0, 0]
    store = Store(path)
    assert store.size()[0] == 600
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda number: store.get(f"1 {number}".encode()), range(200)))
    assert [events[1].text for events in found] == [str(number) for number in range(200)]
    store.close()


def test_a_file_that_was_deleted_is_made_anew(phi):
    phi(HAIKU)
    for path in Path(phi.cache).parent.glob("answers.sqlite*"):
        path.unlink()
    assert not phi(HAIKU).from_cache
    assert phi(HAIKU).from_cache
