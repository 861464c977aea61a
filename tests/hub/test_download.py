"""Pulling a model with the real huggingface_hub: what comes, what stays, and what the user is told."""

from __future__ import annotations

import hashlib
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from phi_magic.errors import PhiError
from phi_magic.gguf.checks import read_header
from tests.hub.server import Hub
from tests.reliability.models import DEMO

pytestmark = pytest.mark.hub

NAME = "owner/repo/model.gguf"
SIZE = 3_000_004  # bytes of `content`
# one more try instead of three, which wait seven seconds
IMPATIENT = "import phi_magic.models.retry; phi_magic.models.retry.PATIENCE = 1\n"


@pytest.fixture(autouse=True)
def published(hub, content):
    hub.add("owner/repo", "model.gguf", content)


def wait_for(condition, seconds=20):
    """Until `condition` holds; the test fails when it does not within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def same(outcome, content):
    return Path(outcome["path"]).read_bytes() == content.read_bytes()


def test_a_model_is_pulled_once_and_then_found_without_a_request(hub, pull, content):
    first = pull()
    assert same(first, content)
    assert first["sha256"] == hashlib.sha256(content.read_bytes()).hexdigest()
    assert first["said"] == [f"{NAME}: downloading 3 MB"]
    hub.requests.clear()
    again = pull()
    assert again["path"] == first["path"]
    assert again["sha256"] == first["sha256"]
    assert again["revision"] == first["revision"]
    assert again["said"] == []
    assert hub.requests == []


def test_a_cached_model_needs_no_hub(hub, pull, content):
    pull()
    hub.go_away()
    assert same(pull(), content)
    assert same(pull(HF_HUB_OFFLINE="1"), content)


def test_nothing_but_the_file_is_asked_for(hub, pull):
    pull()
    assert {request.path.rsplit("/", 1)[1] for request in hub.requests} == {"model.gguf"}


def test_a_file_in_a_subfolder_is_found(hub, pull, content):
    hub.add("owner/repo", "q4/part/other.gguf", content)
    assert same(pull("owner/repo/q4/part/other.gguf"), content)
    hub.requests.clear()
    assert same(pull("owner/repo/q4/part/other.gguf"), content)
    assert hub.requests == []


def test_a_known_name_is_pulled_from_its_repository(hub, pull, content):
    hub.add("microsoft/Phi-3-mini-4k-instruct-gguf", "Phi-3-mini-4k-instruct-q4.gguf", content)
    outcome = pull("phi-3-mini-4k")
    assert same(outcome, content)
    assert outcome["name"] == "phi-3-mini-4k"


@pytest.mark.parametrize(
    "cuts",
    [
        pytest.param([1], id="first byte"),
        pytest.param([65_536], id="65,536"),
        pytest.param([1_000_000], id="middle"),
        pytest.param([SIZE - 1], id="last byte"),
        pytest.param(random.Random(7).sample(range(1, SIZE), 100), id="anywhere", marks=pytest.mark.torture),
    ],
)
def test_a_cut_transfer_goes_on_from_its_last_byte(hub, pull, content, tmp_path, cuts):
    for cut in cuts:
        hub.requests.clear()
        hub.fail(cut=cut)
        outcome = pull(HF_HOME=str(tmp_path / str(cut)))
        assert same(outcome, content)
        assert "the connection broke; trying again in 1 s" in outcome["said"]
        ranges = [r.headers["Range"] for r in hub.asked("GET") if r.path.startswith("/storage/")]
        assert ranges == ["bytes=0-", f"bytes={cut}-"]


def test_a_pull_that_gave_up_goes_on_in_the_next_process(hub, pull, content):
    hub.fail(cut=1_000_000)
    hub.fail(cut=0)
    outcome = pull(before=IMPATIENT)
    assert outcome["error"].startswith(f"{NAME}: no connection to {hub.url}")
    assert outcome["said"][-1] == f"{NAME}: stopped at 1 MB of 3 MB; the next pull goes on from there"
    [partial] = pull.partial
    assert partial.stat().st_size == 1_000_000
    hub.requests.clear()
    again = pull()
    assert same(again, content)
    assert again["said"] == [f"{NAME}: downloading 3 MB, 1 MB are here already"]
    assert hub.asked("GET")[-1].headers["Range"] == "bytes=1000000-"
    assert pull.partial == []


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send")
def test_ctrl_c_ends_at_once_and_the_next_pull_goes_on(hub, pull, content):
    hub.fail(stall=1_500_000)
    process = pull.start(HF_HUB_DOWNLOAD_TIMEOUT="30")
    wait_for(lambda: pull.partial and pull.partial[0].stat().st_size >= 1_400_000)
    process.send_signal(signal.SIGINT)
    before = time.monotonic()
    outcome = pull.outcome(process)
    assert time.monotonic() - before < 10
    assert outcome["interrupted"]
    assert "stopped at 1.5 MB of 3 MB" in outcome["said"][-1]
    hub.requests.clear()
    assert same(pull(), content)
    assert hub.asked("GET")[-1].headers["Range"] == "bytes=1500000-"


STOPPED_ON_THE_WAY = """
from phi_magic.models import files as models
from phi_magic.interrupt import Interrupted, Stop
stop, real, pieces = Stop(), models.resolve, []
def check():
    pieces.append(1)
    stop.requested = len(pieces) > 5
    stop.check()
def resolve(name, **options):
    try:
        return real(name, check=check, **options)
    except Interrupted:
        raise KeyboardInterrupt
models.resolve = resolve
"""


def test_a_stop_from_another_thread_ends_it_too_and_the_next_pull_goes_on(hub, pull, content):
    outcome = pull(before=STOPPED_ON_THE_WAY)
    assert outcome["interrupted"]
    assert "; the next pull goes on from there" in outcome["said"][-1]
    [partial] = pull.partial
    assert 0 < partial.stat().st_size < content.stat().st_size
    assert same(pull(), content)


def test_a_stalled_connection_is_given_up_and_taken_up_again(hub, pull, content):
    hub.fail(stall=500_000)
    outcome = pull()
    assert same(outcome, content)
    assert hub.asked("GET")[-1].headers["Range"] == "bytes=500000-"


def test_a_storage_without_ranges_begins_again(hub, pull, content):
    hub.ranges = False
    hub.fail(cut=1_000_000)
    assert same(pull(), content)


def test_the_token_goes_to_the_hub_and_not_to_its_storage(hub, pull):
    pull(HF_TOKEN="secret")
    told = {request.host.split(":")[0]: request.headers.get("Authorization") for request in hub.asked("GET")}
    assert told == {"127.0.0.1": "Bearer secret", "localhost": None}


def test_an_accepted_licence_opens_a_gated_model(hub, pull, content):
    hub.add("owner/gated", "model.gguf", content, gated=True)
    locked_out = f"accept its licence at {hub.url}/owner/gated, then log in with `hf auth login` or set HF_TOKEN"
    assert locked_out in pull("owner/gated/model.gguf")["error"]
    assert locked_out in pull("owner/gated/model.gguf", HF_TOKEN="stranger")["error"]
    assert same(pull("owner/gated/model.gguf", HF_TOKEN="accepted"), content)


def test_a_missing_repository_is_named(hub, pull):
    assert "no repository owner/rebo at" in pull("owner/rebo/model.gguf")["error"]


def test_a_missing_file_names_its_neighbours(hub, pull):
    assert pull("owner/repo/modle.gguf")["error"].endswith("no file modle.gguf in owner/repo; there are model.gguf")


@pytest.mark.parametrize("listing", [b"", b"null", b"5", b"[5]", b"{}", b'[{"type": "file"}]', b"<!doctype html>"])
def test_a_list_of_files_that_is_none_changes_nothing_about_the_error(hub, pull, listing):
    hub.listing = listing
    assert (
        f"{NAME.replace('model', 'modle')}: no file modle.gguf in owner/repo" in pull("owner/repo/modle.gguf")["error"]
    )


@pytest.mark.parametrize(
    ("status", "headers"),
    [(401, {}), (401, {"X-Error-Message": "Invalid credentials in Authorization header"}), (403, {})],
)
def test_a_refused_token_is_named(hub, pull, status, headers):
    hub.fail(method="HEAD", status=status, headers=headers)
    assert f"answers {status}; check HF_TOKEN" in pull()["error"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_storage_that_refuses_is_named_and_asked_again_at_the_next_pull(hub, pull, content, status):
    hub.fail(cut=1_000_000)
    hub.fail(status=status)
    outcome = pull()
    assert f"answers {status}" in outcome["error"]
    assert outcome["said"][-1] == f"{NAME}: stopped at 1 MB of 3 MB; the next pull goes on from there"
    assert same(pull(), content)
    assert hub.asked("GET")[-1].headers["Range"] == "bytes=1000000-"


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_busy_hub_is_waited_for_as_long_as_it_asks(hub, pull, content, method):
    hub.fail(method=method, status=429, headers={"Retry-After": "1"})
    outcome = pull()
    assert same(outcome, content)
    assert "the hub answers 429; trying again in 1 s" in outcome["said"]


def test_a_hub_that_asks_for_an_hour_is_not_waited_for(hub, pull):
    hub.fail(method="HEAD", status=429, headers={"Retry-After": "3600"})
    assert "try again in 3600 s" in pull()["error"]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_failing_hub_is_tried_again(hub, pull, content, method):
    hub.fail(method=method, status=500)
    assert same(pull(), content)


def test_a_broken_hub_is_named(hub, pull):
    hub.fail(method="HEAD", status=503, times=10)
    assert "answers 503; try again in some minutes" in pull(before=IMPATIENT)["error"]


def test_a_hub_that_goes_away_leaves_the_partial_file(hub, pull, content):
    hub.fail(stall=1_000_000)
    process = pull.start(before=IMPATIENT)
    wait_for(lambda: pull.partial and pull.partial[0].stat().st_size >= 900_000)
    hub.go_away()
    outcome = pull.outcome(process)
    assert f"no connection to {hub.url}" in outcome["error"]
    assert pull.partial
    assert pull.blobs == []


def test_no_network_is_named_and_the_way_round_it(hub, pull):
    hub.go_away()
    outcome = pull()
    assert f"no connection to {hub.url}" in outcome["error"]
    assert "`demo`" in outcome["error"]


def test_offline_and_not_cached_is_named(hub, pull):
    outcome = pull(HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in outcome["error"]
    assert hub.requests == []


@pytest.mark.parametrize("endpoint", ["nonsense", "http://", "http://[::bad", "ftp://127.0.0.1"])
def test_an_impossible_endpoint_is_named(hub, pull, endpoint):
    assert "HF_ENDPOINT" in pull(HF_ENDPOINT=endpoint)["error"]


def test_another_web_server_is_no_hub(hub, pull):
    hub.fail(method="HEAD", rubbish=True)
    assert "does not answer as a hub does; check HF_ENDPOINT" in pull()["error"]
    assert "check HF_ENDPOINT" in pull(HF_ENDPOINT=f"{hub.url}/elsewhere")["error"]


def test_a_file_of_the_wrong_hash_never_enters_the_cache(hub, pull, content):
    hub.add("owner/repo", "model.gguf", content, sha256="0" * 64)
    assert "not what the hub holds (SHA-256)" in pull()["error"]
    assert pull.blobs == pull.partial == []


@pytest.mark.parametrize("size", [1_000_000, 4_000_000])
def test_a_file_of_the_wrong_size_never_enters_the_cache(hub, pull, content, size):
    hub.add("owner/repo", "model.gguf", content, size=size)
    assert "error" in pull(before=IMPATIENT)
    assert pull.blobs == []


def test_two_processes_download_once(hub, pull, content):
    hub.fail(stall=1_000_000)
    first = pull.start(HF_HUB_DOWNLOAD_TIMEOUT="60")
    wait_for(lambda: pull.partial)
    second = pull.start()
    assert next(line for line in second.stderr if "another process is downloading this file; waiting for it" in line)
    hub.released.set()
    assert all(same(pull.outcome(process), content) for process in (first, second))
    fetched = [r.headers["Range"] for r in hub.asked("GET") if r.path.startswith("/storage/")]
    assert fetched == ["bytes=0-", "bytes=1000000-"]


def test_a_killed_process_leaves_no_lock(hub, pull, content):
    hub.fail(stall=1_000_000)
    process = pull.start(HF_HUB_DOWNLOAD_TIMEOUT="30")
    wait_for(lambda: pull.partial and pull.partial[0].stat().st_size >= 900_000)
    process.kill()
    process.communicate()
    outcome = pull()
    assert same(outcome, content)
    assert not any("waiting" in text for text in outcome["said"])


def test_a_full_disk_is_seen_beforehand(hub, pull):
    little = "import shutil; shutil.disk_usage = lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1_000_000)\n"
    assert "3 MB to download, 1 MB free on the disk of" in pull(before=little)["error"]
    assert hub.asked("GET") == []


def test_a_disk_that_fills_up_keeps_what_came(hub, pull, content):
    filling = """
import errno, io, pathlib
class Disk(io.BufferedRandom):
    def write(self, data):
        if self.tell() + len(data) > 1_000_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)
opened = pathlib.Path.open
pathlib.Path.open = lambda path, mode="r", *args, **options: (
    Disk(io.FileIO(path, "a+")) if mode == "ab" else opened(path, mode, *args, **options)
)
"""
    outcome = pull(before=filling)
    assert "is full; make room" in outcome["error"]
    assert pull.partial
    assert same(pull(), content)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a folder that nobody can write, not even root")
def test_a_cache_that_cannot_be_written_is_named(hub, pull):
    assert "set HF_HOME to a folder of your own" in pull(HF_HOME="/sys/phi_magic")["error"]


def test_a_cache_that_is_no_folder_is_named(hub, pull, tmp_path):
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in pull(HF_HOME=str(tmp_path / "file"))["error"]


# root writes everywhere; without its capabilities it is a user like any other
AS_ANY_USER = """
import ctypes
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="capabilities, where root runs this")
def test_a_cached_model_is_found_where_nothing_can_be_written(hub, pull, content):
    pull()
    for path in [pull.home, *pull.home.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    hub.requests.clear()
    assert same(pull(before=AS_ANY_USER), content)
    assert same(pull(before=AS_ANY_USER, verb="pull"), content)
    assert hub.requests == []
    hub.add("owner/other", "model.gguf", content)
    assert "set HF_HOME to a folder of your own" in pull("owner/other/model.gguf", before=AS_ANY_USER)["error"]


@pytest.mark.parametrize("kept", [0, 4, 100_000, -64])
def test_a_cached_file_that_was_cut_is_refused_until_it_is_pulled_again(hub, pull, kept):
    hub.add("owner/repo", "model.gguf", DEMO)
    found = pull()
    [blob] = pull.blobs
    blob.write_bytes(blob.read_bytes()[:kept])
    with pytest.raises(PhiError, match=r"again$"):
        read_header(pull()["path"])
    assert read_header(pull(verb="pull")["path"]).path == Path(found["path"])


@pytest.mark.parametrize("damage", [b"GGUF" + bytes(100), b"GGUF" + bytes(SIZE - 4)], ids=["shorter", "as long"])
def test_pull_repairs_a_damaged_file(hub, pull, content, damage):
    found = pull()
    [blob] = pull.blobs
    blob.write_bytes(damage)
    outcome = pull(verb="pull")
    assert outcome["path"] == found["path"]
    assert same(outcome, content)
    hub.requests.clear()
    assert same(pull(verb="pull"), content)
    assert hub.requests == []


def test_another_endpoint_is_not_asked_for_what_is_cached(pull, content):
    found = pull()
    with Hub() as other:
        assert pull(HF_ENDPOINT=other.url)["path"] == found["path"]
        assert other.requests == []


@pytest.mark.parametrize("alike", [True, False])
def test_a_transfer_goes_on_from_another_endpoint_if_it_has_the_same_file(hub, pull, content, tmp_path, alike):
    hub.fail(cut=1_000_000)
    hub.fail(cut=0)
    assert "error" in pull(before=IMPATIENT)
    there = content if alike else tmp_path / "newer.gguf"
    there.write_bytes(content.read_bytes() if alike else b"GGUF" + bytes(2_500_000))
    with Hub() as other:
        other.add("owner/repo", "model.gguf", there)
        assert same(pull(HF_ENDPOINT=other.url), there)
        [fetched] = [request.headers["Range"] for request in other.asked("GET") if request.path.startswith("/storage/")]
    assert fetched == ("bytes=1000000-" if alike else "bytes=0-")
