"""Bring a file from the hub into huggingface_hub's cache, or say in one line why it could not be had.

The transfer is not huggingface_hub's own ``http_get``, for three reasons, each with a test in tests/hub. That function
(2.0) writes chunks of 10 MiB, so Ctrl-C or a cut connection loses up to one chunk, and a stop is noticed only after it.
It does not try again after a read error or a status of 5xx. It waits in silence for as long as a busy hub asks.
``hf_hub_download`` also deletes the partial file (since 2.0). Session, headers, progress bar, lock and the layout of
the cache are the library's. A file enters the cache only if its SHA-256 is the one that the hub names.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import PhiError
from ..interrupt import Interrupted
from ..machine import show_size
from ..paths import show_path
from ..suggestions import closest
from .fingerprint import sha256_of
from .retry import patiently

SHA256 = re.compile(r"[0-9a-f]{64}")


def download_file(
    hub: Any, name: str, repo_id: str, filename: str, notify: Callable[[str], None], check: Callable[[], None]
) -> None:
    """Bring `filename` of `repo_id` into the cache of `hub`, the module huggingface_hub.

    Raises PhiError, one line that begins with the model's `name` and says what to do; and what `check` raises, which is
    called with every piece that comes.
    """
    cache = Path(hub.constants.HF_HUB_CACHE)
    with _explained(hub, name, repo_id, filename):
        metadata = patiently(hub, notify, lambda: hub.get_hf_file_metadata(hub.hf_hub_url(repo_id, filename)))
        etag, size = metadata.etag or "", metadata.size
        if not (metadata.commit_hash and size and re.fullmatch(r"[\w-]+", etag)):
            raise PhiError(f"{name}: {hub.constants.ENDPOINT} does not answer as a hub does; check HF_ENDPOINT")
        folder = hub.file_download.repo_folder_name(repo_id=repo_id, repo_type="model")
        blob = cache / folder / "blobs" / etag
        blob.parent.mkdir(parents=True, exist_ok=True)
        with _locked(hub, cache / ".locks" / folder / f"{etag}.lock", notify):
            if not blob.exists():
                partial = blob.with_name(f"{etag}.incomplete")
                # by commit, so that the file is the one that the metadata described
                url = hub.hf_hub_url(repo_id, filename, revision=metadata.commit_hash)
                _transfer(hub, name, url, partial, size, notify, check)
                if SHA256.fullmatch(etag) and sha256_of(partial) != etag:
                    partial.unlink()
                    raise PhiError(f"{name}: what came is not what the hub holds (SHA-256), and is deleted; pull again")
                partial.replace(blob)
        hub.hf_hub_download(repo_id, filename)  # finds the blob in its place, and links it


def _transfer(
    hub: Any,
    name: str,
    url: str,
    partial: Path,
    size: int,
    notify: Callable[[str], None],
    check: Callable[[], None],
) -> None:
    """Bring the `size` bytes of `url` into `partial`, going on after those that are in it."""
    http = _http(hub)
    have = partial.stat().st_size if partial.exists() else 0
    free = shutil.disk_usage(partial.parent).free
    if free < size - have:
        raise PhiError(
            f"{name}: {show_size(size - have)} to download, {show_size(free)} free on the disk of "
            f"{show_path(hub.constants.HF_HUB_CACHE)}; make room, or set HF_HOME to a folder on a larger disk"
        )
    notify(f"{name}: downloading {show_size(size)}" + (f", {show_size(have)} are here already" if have else ""))
    headers = {**hub.utils.build_hf_headers(), "Accept-Encoding": "identity"}
    label = {"desc": url.rpartition("/")[2], "name": "huggingface_hub.http_get"}
    try:
        with (
            hub.utils.tqdm(total=size, initial=have, unit="B", unit_scale=True, **label) as bar,
            partial.open("ab") as file,
        ):

            def rest() -> None:
                have = file.tell()
                asked = {**headers, "Range": f"bytes={have}-"}
                timeout = hub.constants.HF_HUB_DOWNLOAD_TIMEOUT
                with hub.get_session().stream("GET", url, headers=asked, timeout=timeout) as response:
                    hub.utils.hf_raise_for_status(response)
                    if have and response.status_code != 206:  # the range was not honoured: this is the beginning
                        file.truncate(0)
                        bar.update(-have)
                    for piece in response.iter_raw():
                        check()
                        file.write(piece)
                        bar.update(len(piece))
                        if file.tell() > size:
                            return
                if file.tell() < size:
                    raise http.ReadError("closed before its end")

            def tell(text: str) -> None:
                with bar.external_write_mode():
                    notify(text)

            if have < size:
                patiently(hub, tell, rest, broken=(http.TransportError,), progress=file.tell)
    except (KeyboardInterrupt, Interrupted, http.HTTPError):
        came = show_size(partial.stat().st_size if partial.exists() else 0)
        notify(f"{name}: stopped at {came} of {show_size(size)}; the next pull goes on from there")
        raise
    if partial.stat().st_size != size:
        partial.unlink()
        raise PhiError(f"{name}: more came than the {show_size(size)} that the hub says, and is deleted; pull again")


@contextlib.contextmanager
def _locked(hub: Any, lock: Path, notify: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock that huggingface_hub itself takes for this file; the system frees it when its process ends."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    busy = importlib.import_module("filelock").Timeout
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hub.utils.WeakFileLock(lock, timeout=1))
        except busy:
            notify("another process is downloading this file; waiting for it")
            stack.enter_context(hub.utils.WeakFileLock(lock))
        yield


def _http(hub: Any) -> Any:
    """Return the HTTP library of this huggingface_hub: httpx2 since 2.0, httpx before."""
    base = next(base for base in hub.errors.HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    return importlib.import_module(base.__module__.partition(".")[0])


@contextlib.contextmanager
def _explained(hub: Any, name: str, repo_id: str, filename: str) -> Iterator[None]:
    """Turn whatever huggingface_hub, the network or the disk raises into one line that says what to do."""
    http = _http(hub)
    try:
        yield
    except (hub.errors.OfflineModeIsEnabled, http.HTTPError, http.InvalidURL) as error:
        raise PhiError(f"{name}: {_advice(hub, error, repo_id, filename)}") from error
    except hub.errors.LocalEntryNotFoundError as error:  # of the last step, if it got no answer
        raise PhiError(f"{name}: {_advice(hub, error.__cause__ or error, repo_id, filename)}") from error
    except OSError as error:
        raise PhiError(f"{name}: {disk_advice(error, Path(hub.constants.HF_HUB_CACHE))}") from error


def _advice(hub: Any, error: BaseException, repo_id: str, filename: str) -> str:
    endpoint, kinds = hub.constants.ENDPOINT, hub.errors
    without = "; the model `demo` and any GGUF on this machine work without it"
    if isinstance(error, kinds.OfflineModeIsEnabled):
        return f"not in the cache {show_path(hub.constants.HF_HUB_CACHE)}, and HF_HUB_OFFLINE is set; unset it to pull"
    if not isinstance(error, kinds.HfHubHTTPError):
        return f"no connection to {endpoint}; check the network, and HF_ENDPOINT{without}"
    status, headers = error.response.status_code, error.response.headers
    if isinstance(error, kinds.GatedRepoError):
        return f"gated; accept its licence at {endpoint}/{repo_id}, then log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, kinds.RepositoryNotFoundError):
        return (
            f"no repository {repo_id} at {endpoint}, or a private one; check the name, or log in with `hf auth login`"
        )
    if isinstance(error, kinds.EntryNotFoundError):
        return f"no file {filename} in {repo_id}{_others(hub, repo_id, filename)}"
    if status in {401, 403}:
        return f"{endpoint} answers {status}; check HF_TOKEN, or log in again with `hf auth login`"
    if status == 429:
        later = f"in {headers['Retry-After']} s" if headers.get("Retry-After", "").isdecimal() else "later"
        return f"{endpoint} has had too many requests; try again {later}, or log in with `hf auth login`"
    if status >= 500:
        return f"{endpoint} answers {status}; try again in some minutes{without}"
    return f"{endpoint} answers {status}, as no hub does; check HF_ENDPOINT"


def _others(hub: Any, repo_id: str, filename: str) -> str:
    """The GGUFs in the repository with the nearest names; one request."""
    try:
        names = [name for name in hub.HfApi().list_repo_files(repo_id) if name.lower().endswith(".gguf")]
    except Exception:  # noqa: BLE001 - whatever is wrong with the list, the error that this hint goes with says enough
        return ""
    near = closest(filename, names, alike=3)
    return f"; there are {', '.join(near)}" if near else f"; its files are at {hub.constants.ENDPOINT}/{repo_id}"


def disk_advice(error: OSError, folder: Path) -> str:
    """What to do about a disk's error under `folder`."""
    where = show_path(error.filename or folder)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"the disk of {show_path(folder)} is full; make room, or set HF_HOME to a folder on a larger disk"
    if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        return f"{where} cannot be written; set HF_HOME to a folder of your own"
    return f"{where}: {error.strerror or error}"
