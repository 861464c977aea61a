"""From a model's name to its file: shipped, on the disk, in huggingface_hub's cache, or on the hub.

The only module that imports huggingface_hub, and not before a hub name is asked for. A cached file is found without
a request. A download is ours where huggingface_hub's throws a cut one away (since 2.0): the same session, headers,
lock and cache layout, but the partial file stays, is continued by the next call, and is checked against its SHA-256.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import importlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from .errors import PhiError
from .gguf_header import show_path, show_size

DEFAULT = "phi-3-mini-4k"
SHA256 = re.compile(r"[0-9a-f]{64}")
HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)/(?P<file>[^\\]+\.gguf)", re.IGNORECASE)
PATIENCE = 4  # tries without a byte gained, 1, 2 and 4 seconds apart
LONGEST_WAIT = 30  # seconds that a Retry-After is waited out


@dataclass(frozen=True)
class Known:
    """A model with a name of its own; `size` in bytes, about."""

    repo_id: str | None
    filename: str
    size: int
    licence: str
    about: str


KNOWN = {
    "demo": Known(None, "phi-demo.gguf", 3_000_000, "MIT", "shipped with phi_magic: tiny, writes haiku"),
    "phi-3-mini-4k": Known(
        "microsoft/Phi-3-mini-4k-instruct-gguf",
        "Phi-3-mini-4k-instruct-q4.gguf",
        2_393_231_072,
        "MIT",
        "3.8 billion parameters, 4,096 tokens of context",
    ),
    "phi-2": Known(
        "TheBloke/phi-2-GGUF", "phi-2.Q4_K_M.gguf", 1_790_000_000, "MIT", "2.7 billion parameters, 2,048 tokens"
    ),
    "phi-4": Known(
        "microsoft/phi-4-gguf", "phi-4-q4.gguf", 9_050_000_000, "MIT", "14.7 billion parameters, 16,384 tokens"
    ),
}


@dataclass(frozen=True)
class ModelFile:
    """A model's file on this machine; `sha256` is None where nobody has told it yet (see `file_sha256`)."""

    name: str
    path: Path
    repo_id: str | None = None
    filename: str = ""
    revision: str | None = None
    sha256: str | None = None


def notice(text: str) -> None:
    """Tell the user on standard error, where neither a pipe nor an answer is disturbed."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def resolve(name: str, *, download: bool = True, notify: Callable[[str], None] = notice) -> ModelFile:
    """The file of the model `name`: a known name, a path to a GGUF, or ``owner/repo/file.gguf`` on the hub.

    A path that exists goes before a hub's name. A file in huggingface_hub's cache is found without a request; else it
    is downloaded, unless `download` is false. Raises PhiError, one line that says what to do.
    """
    source = _source(name)
    if isinstance(source, ModelFile):
        return source
    repo_id, filename = source
    found = _in_cache(name, repo_id, filename)
    if found is None:
        if not download:
            raise PhiError(f"{name} is not downloaded yet: %phi_models pull {name}")
        _download(name, repo_id, filename, notify)
        found = _in_cache(name, repo_id, filename)
        if found is None:
            raise PhiError(f"{name}: the download is not in the cache {show_path(_cache())}; pull it again")
    return found


def pull(name: str, *, notify: Callable[[str], None] = notice) -> ModelFile:
    """Download the model `name` if need be; a cached file is checked against its SHA-256 and fetched anew if damaged."""
    source = _source(name)
    if not isinstance(source, ModelFile):
        found = _in_cache(name, *source)
        if found is not None and found.sha256 not in {None, file_sha256(found.path)}:
            notify(f"{name}: the cached file is damaged; fetching it anew")
            remove(name)
    return resolve(name, notify=notify)


def cached() -> list[ModelFile]:
    """Every GGUF in huggingface_hub's cache, whoever put it there, by name; no request is made."""
    hub = _hub()
    try:
        repos = hub.scan_cache_dir(_cache()).repos
    except hub.CacheNotFound:
        return []
    found: dict[str, ModelFile] = {}
    for repo in (repo for repo in repos if repo.repo_type == "model"):
        # the revision that main names goes last, and so prevails
        for revision in sorted(repo.revisions, key=lambda r: ("main" in r.refs, r.last_modified)):
            for file in revision.files:
                filename = file.file_path.relative_to(revision.snapshot_path).as_posix()
                if filename.lower().endswith(".gguf") and file.file_path.exists():
                    model = _model(repo.repo_id, filename, file.file_path, revision.commit_hash)
                    found[model.name] = model
    return [found[name] for name in sorted(found)]


def remove(name: str) -> int:
    """Delete the model `name` from huggingface_hub's cache, all its revisions; the bytes that this freed."""
    source = _source(name)
    if isinstance(source, ModelFile):
        raise PhiError(f"{name} is not in the hub's cache; delete the file {show_path(source.path)} yourself")
    repo_id, filename = source
    folder = _cache() / _hub().file_download.repo_folder_name(repo_id=repo_id, repo_type="model")
    pointers = [path for path in folder.glob(f"snapshots/*/{filename}") if path.is_file() or path.is_symlink()]
    if not pointers:
        raise PhiError(f"{name} is not in the cache {show_path(_cache())}")
    freed = 0
    try:
        blobs = {path.parent / path.readlink() for path in pointers if path.is_symlink()}
        for path in pointers:
            freed += 0 if path.is_symlink() else path.stat().st_size
            path.unlink()
        kept = {path.resolve() for path in folder.glob("snapshots/*/**/*")}
        for blob in (blob for blob in blobs if blob.exists() and blob.resolve() not in kept):
            freed += blob.stat().st_size
            blob.unlink()
        if not any(path.is_file() for path in folder.glob("snapshots/**/*")):
            shutil.rmtree(folder)
    except OSError as error:
        raise PhiError(f"{name}: cannot be removed: {error.strerror}: {show_path(error.filename or folder)}") from error
    return freed


_digests: dict[tuple[Path, int, int], str] = {}


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, remembered while its size and time of change stay; about a second for each GB."""
    status = path.stat()
    key = (path.resolve(), status.st_size, status.st_mtime_ns)
    if key not in _digests:
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while block := file.read(1 << 20):
                digest.update(block)
        _digests[key] = digest.hexdigest()
    return _digests[key]


def _source(name: str) -> ModelFile | tuple[str, str]:
    """The file itself, or where on the hub it lies: repository and file."""
    if known := KNOWN.get(name):
        if known.repo_id:
            return known.repo_id, known.filename
        return _demo(known)
    path = Path(name).expanduser()
    if name.strip() and os.path.exists(path):  # noqa: PTH110 - Path.exists raises on a NUL
        return ModelFile(name, path, filename=path.name)
    hub_name = HUB_NAME.fullmatch(name)
    if hub_name and ".." not in name.split("/") and not name.startswith("."):
        return hub_name["repo"], hub_name["file"]
    if "\0" not in name and (path.is_absolute() or name.startswith((".", "~")) or name.lower().endswith(".gguf")):
        siblings = [file.name for file in path.parent.glob("*.gguf")]
        raise PhiError(f"{show_path(name)}: no such file{_nearest(path.name, siblings)}")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise PhiError(f"{name} names a repository; name the file in it: {name}/FILE.gguf")
    known_names = ", ".join(KNOWN)
    raise PhiError(
        f"unknown model {name[:80]!r}{_nearest(name, list(KNOWN))} "
        f"(there are {known_names}, owner/repo/file.gguf on the hub, or the path of a GGUF file)"
    )


def _demo(known: Known) -> ModelFile:
    path = Path(str(resources.files(__package__).joinpath("demo", known.filename)))
    if not path.is_file():
        raise PhiError(f"the shipped model is missing from this installation ({show_path(path)}); install it again")
    return ModelFile("demo", path, filename=known.filename, sha256=file_sha256(path))


def _nearest(name: str, names: list[str]) -> str:
    close = [known for known in names if name and known.startswith(name)]
    close += difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _hub() -> Any:
    """huggingface_hub, imported when first needed and with its telemetry off."""
    if "huggingface_hub.constants" not in sys.modules:
        # read once, at its import: without it every first call of a day asks the endpoint for /api/agent-harnesses
        before = os.environ.get("HF_HUB_DISABLE_TELEMETRY")
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        try:
            importlib.import_module("huggingface_hub.constants")
        finally:
            if before is None:
                del os.environ["HF_HUB_DISABLE_TELEMETRY"]
            else:
                os.environ["HF_HUB_DISABLE_TELEMETRY"] = before
    import huggingface_hub
    import huggingface_hub.file_download
    import huggingface_hub.utils

    return huggingface_hub


def _cache() -> Path:
    return Path(_hub().constants.HF_HUB_CACHE)


def _in_cache(name: str, repo_id: str, filename: str) -> ModelFile | None:
    hub = _hub()
    try:
        path = hub.try_to_load_from_cache(repo_id, filename, cache_dir=_cache())
    except ValueError as error:  # no such name can be on the hub
        raise PhiError(f"{name}: {str(error).splitlines()[0]}") from error
    return _model(repo_id, filename, Path(path), Path(path).parents[filename.count("/")].name) if path else None


def _model(repo_id: str, filename: str, path: Path, revision: str) -> ModelFile:
    aliases = [name for name, known in KNOWN.items() if (known.repo_id, known.filename) == (repo_id, filename)]
    # one link only: a blob can be a link again, into a store with other names
    blob = path.readlink().name if path.is_symlink() else ""
    sha256 = blob if SHA256.fullmatch(blob) else None
    return ModelFile(aliases[0] if aliases else f"{repo_id}/{filename}", path, repo_id, filename, revision, sha256)


def _http() -> Any:
    """The httpx that this huggingface_hub speaks through: httpx2 since 2.0, httpx before."""
    base = next(base for base in _hub().errors.HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    return importlib.import_module(base.__module__.partition(".")[0])


def _download(name: str, repo_id: str, filename: str, notify: Callable[[str], None]) -> None:
    """Bring the file into huggingface_hub's cache, going on where an earlier download stopped."""
    hub = _hub()
    with _explained(name, repo_id, filename):
        metadata = _patiently(lambda: hub.get_hf_file_metadata(hub.hf_hub_url(repo_id, filename)), notify)
        etag, size = metadata.etag, metadata.size
        if not metadata.commit_hash or not size or not re.fullmatch(r"[\w-]+", etag or ""):
            raise PhiError(f"{name}: {hub.constants.ENDPOINT} does not answer as a hub does; check HF_ENDPOINT")
        folder = hub.file_download.repo_folder_name(repo_id=repo_id, repo_type="model")
        blob = _cache() / folder / "blobs" / etag
        lock = _cache() / ".locks" / folder / f"{etag}.lock"
        blob.parent.mkdir(parents=True, exist_ok=True)
        lock.parent.mkdir(parents=True, exist_ok=True)
        with _locked(lock, notify):
            if not blob.exists():
                partial = blob.with_name(f"{etag}.incomplete")
                # by commit, so that what is fetched is what was described; without a Location of some minutes' life
                url = hub.hf_hub_url(repo_id, filename, revision=metadata.commit_hash)
                _fetch(name, url, partial, size, notify)
                if SHA256.fullmatch(etag) and file_sha256(partial) != etag:
                    partial.unlink()
                    raise PhiError(f"{name}: what arrived is not what the hub holds (SHA-256); deleted; pull it again")
                partial.replace(blob)
        hub.hf_hub_download(repo_id, filename)  # finds the blob in place, and enters it in the cache


def _fetch(name: str, url: str, partial: Path, size: int, notify: Callable[[str], None]) -> None:
    """Download `url`, `size` bytes, into `partial`, beginning after what is in it."""
    hub, http = _hub(), _http()
    have = partial.stat().st_size if partial.exists() else 0
    free = shutil.disk_usage(partial.parent).free
    if free < size - have:
        raise PhiError(
            f"{name}: {show_size(size - have)} to download and {show_size(free)} free in {show_path(_cache())}; "
            "make room, or set HF_HOME to a folder on a larger disk"
        )
    notify(f"{name}: downloading {show_size(size)}" + (f", going on at {show_size(have)}" if have else ""))
    headers = {**hub.utils.build_hf_headers(), "Accept-Encoding": "identity"}
    label = {"desc": url.rpartition("/")[2], "name": "huggingface_hub.http_get"}
    with (
        partial.open("ab") as file,
        hub.utils.tqdm(total=size, initial=have, unit="B", unit_scale=True, **label) as bar,
    ):

        def rest() -> None:
            have = file.tell()
            asked = {**headers, "Range": f"bytes={have}-"}
            timeout = hub.constants.HF_HUB_DOWNLOAD_TIMEOUT
            with hub.get_session().stream("GET", url, headers=asked, timeout=timeout) as response:
                hub.utils.hf_raise_for_status(response)
                if have and response.status_code == 200:  # the range was not honoured
                    file.truncate(0)
                    bar.update(-have)
                for piece in response.iter_raw():
                    file.write(piece)
                    bar.update(len(piece))
                    if file.tell() > size:
                        break
            if file.tell() < size:
                raise http.ReadError("closed before its end")

        if have < size:
            _patiently(rest, notify, errors=(http.TransportError,), progress=file.tell)
    if partial.stat().st_size != size:
        partial.unlink()
        raise PhiError(f"{name}: what arrived is larger than the hub says ({show_size(size)}); deleted; pull it again")


def _patiently(
    attempt: Callable[[], Any],
    notify: Callable[[str], None],
    errors: tuple[type[Exception], ...] = (),
    progress: Callable[[], int] = lambda: 0,
) -> Any:
    """What `attempt` returns, tried again where the hub is busy or, for `errors`, where the connection broke."""
    tries, before = 0, progress()
    while True:
        try:
            return attempt()
        except (_hub().errors.HfHubHTTPError, *errors) as error:
            if progress() > before:
                tries, before = 0, progress()
            wait = _wait(error, tries)
            if wait is None:
                raise
            notify(f"{_what(error)}; trying again in {wait} s")
        tries += 1
        time.sleep(wait)


def _wait(error: Exception, tries: int) -> int | None:
    """Seconds until the next try is worth it; None when none is."""
    response = getattr(error, "response", None)
    said = response.headers.get("Retry-After", "") if response is not None else ""
    wait = int(said) if said.isdecimal() else 2**tries
    again = response is None or response.status_code in {408, 429, 500, 502, 503, 504}
    return wait if again and tries < PATIENCE and wait <= LONGEST_WAIT else None


def _what(error: Exception) -> str:
    response = getattr(error, "response", None)
    return f"the hub answers {response.status_code}" if response is not None else "the connection broke"


@contextlib.contextmanager
def _locked(lock: Path, notify: Callable[[str], None]) -> Iterator[None]:
    """Hold huggingface_hub's own lock for this file, whose holder's death frees it."""
    hub = _hub()
    from filelock import Timeout

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hub.utils.WeakFileLock(lock, timeout=1))
        except Timeout:
            notify("another process is downloading this file; waiting for it")
            stack.enter_context(hub.utils.WeakFileLock(lock))
        yield


@contextlib.contextmanager
def _explained(name: str, repo_id: str, filename: str) -> Iterator[None]:
    """Make one line that says what to do of whatever huggingface_hub, the network or the disk raises."""
    hub, http = _hub(), _http()
    try:
        yield
    except (hub.errors.OfflineModeIsEnabled, hub.errors.HfHubHTTPError, http.HTTPError, http.InvalidURL) as error:
        raise PhiError(f"{name}: {_advice(error, repo_id, filename)}") from error
    except hub.errors.LocalEntryNotFoundError as error:
        raise PhiError(f"{name}: {_advice(error.__cause__ or error, repo_id, filename)}") from error
    except hub.errors.FileMetadataError as error:
        raise PhiError(f"{name}: {hub.constants.ENDPOINT} does not answer as a hub does; check HF_ENDPOINT") from error
    except OSError as error:
        raise PhiError(f"{name}: {_disk_advice(error)}") from error


def _advice(error: BaseException, repo_id: str, filename: str) -> str:
    hub = _hub()
    endpoint, kinds = hub.constants.ENDPOINT, hub.errors
    elsewhere = "; `demo` and any GGUF on this machine work without it"
    if isinstance(error, kinds.OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE is set and {filename} is not in the cache {show_path(_cache())}; unset it to pull it"
    if not isinstance(error, kinds.HfHubHTTPError):
        return f"no connection to {endpoint}; check the network, or HF_ENDPOINT{elsewhere}"
    status = error.response.status_code
    if isinstance(error, kinds.GatedRepoError):
        return f"gated: accept its licence at {endpoint}/{repo_id}, then log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, kinds.RepositoryNotFoundError):
        return (
            f"no repository {repo_id} at {endpoint}, or a private one; check the name, or log in with `hf auth login`"
        )
    if isinstance(error, kinds.EntryNotFoundError):
        return f"no file {filename} in {repo_id}{_nearest_in(repo_id, filename)}"
    if status in {401, 403}:
        return f"{endpoint} answers {status}; check HF_TOKEN, or log in anew with `hf auth login`"
    if status == 429:
        seconds = error.response.headers.get("Retry-After", "")
        return (
            f"too many requests; try again {f'in {seconds} s' if seconds else 'later'}, or log in with `hf auth login`"
        )
    if status >= 500:
        return f"{endpoint} answers {status}; try again in some minutes{elsewhere}"
    return f"{endpoint} answers {status}; check HF_ENDPOINT"


def _nearest_in(repo_id: str, filename: str) -> str:
    """A hint at the files that are there; one request."""
    hub, http = _hub(), _http()
    try:
        names = [name for name in hub.HfApi().list_repo_files(repo_id) if name.lower().endswith(".gguf")]
    except (OSError, http.HTTPError):  # the hint is not worth an error of its own
        return ""
    close = difflib.get_close_matches(filename, names, n=3, cutoff=0.3)
    return f"; there are {', '.join(close)}" if close else f"; see the files at {hub.constants.ENDPOINT}/{repo_id}"


def _disk_advice(error: OSError) -> str:
    where = show_path(error.filename or _cache())
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"the disk of {show_path(_cache())} is full; make room and pull again: it goes on where it stopped"
    if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        return f"{where} cannot be written; set HF_HOME to a folder of your own"
    return f"{error.strerror or error}: {where}"
