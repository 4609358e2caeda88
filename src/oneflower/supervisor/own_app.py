"""The operator's own app (FL_APP): from a folder or a FAB below one folder, or from an https address."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx

from oneflower.errors import AppError, ClusterError, OneflowerError, SettingsError, StateError
from oneflower.files import read_bytes, replace_file, state_errors
from oneflower.flower.fab import PACKED, Fab, build_fab
from oneflower.flower.fab_file import MOST_BYTES, repacked_fab
from oneflower.settings.formats import APPS_FOLDER, split_app_url

CONNECT_S: Final = 30.0
FETCH_S: Final = 300.0
MOST_REDIRECTS: Final = 5
_TRANSIENT: Final = frozenset({408, 425, 429})

Fetch = Callable[[str], bytes]


def own_app(given: str, *, apps: Path, kept: Path, fetch: Fetch | None = None) -> Fab:
    """Return the app that FL_APP names, packed with oneflower's keys; nothing of it is executed.

    Parameters
    ----------
    apps
        What `APPS_FOLDER` is for this process.
    kept
        Where a bundle that was fetched is kept by its SHA-256, so that a restart needs no network.

    Raises
    ------
    StateError, ClusterError
        It is not there, or cannot be read or fetched now: a share may not be mounted yet.
    AppError
        It is no Flower app, or leads out of the folder.
    SettingsError
        The address gives no file, or another file than the one with the SHA-256.
    """
    if "://" in given:
        address, sha256 = split_app_url(given)
        return repacked_fab(_fetched(address, sha256, kept, fetch or fetch_bundle), address)
    place = apps / Path(given).relative_to(APPS_FOLDER) if given.startswith("/") else apps / given
    found = _inside(place, apps, given)
    if found.is_dir():
        _require_own_files(found, given)
        return _named(lambda: build_fab(found), found, given)
    try:
        content = read_bytes(found, MOST_BYTES)
    except OSError as error:
        raise _unreadable(given, error) from error
    return repacked_fab(content, f"FL_APP={given}")


def _inside(place: Path, apps: Path, given: str) -> Path:
    """Return the place behind all links; it must be below the folder."""
    try:
        found, root = place.resolve(strict=True), apps.resolve(strict=True)
    except OSError as error:
        raise _unreadable(given, error) from error
    except RuntimeError as error:  # links in a circle
        raise AppError(f"FL_APP={given}: {error}") from error
    if found == root or not found.is_relative_to(root):
        raise AppError(
            f"FL_APP={given} leads through a symbolic link to {found}, out of {APPS_FOLDER}: expected an app "
            f"in that folder; copy it there"
        )
    return found


def _require_own_files(folder: Path, given: str) -> None:
    """Refuse a link out of the app: what is packed goes to every SuperNode."""
    for pattern in PACKED:
        for path in folder.rglob(pattern):
            if not path.resolve().is_relative_to(folder):
                raise AppError(
                    f"FL_APP={given}: {path.relative_to(folder)} is a symbolic link out of the app's folder: "
                    "expected the file itself; copy it into the folder"
                )


def _named(build: Callable[[], Fab], folder: Path, given: str) -> Fab:
    """Build, and name the app in an error as the operator knows it."""
    try:
        return build()
    except AppError as error:
        raise AppError(str(error).replace(str(folder), f"FL_APP={given}")) from error
    except OSError as error:
        raise _unreadable(given, error) from error


def _unreadable(given: str, error: OSError) -> StateError:
    found = StateError(
        f"FL_APP={given} cannot be read: {error.strerror}; expected a FAB or an app folder of at most "
        f"{MOST_BYTES} bytes below {APPS_FOLDER} that user 49999 can read. Mount the disk or share, or copy "
        "the app there (`chmod -R a+rX`); it is looked for again"
    )
    found.passing = True
    return found


def _fetched(address: str, sha256: str, kept: Path, fetch: Fetch) -> bytes:
    """Return the bundle with this SHA-256: the kept one, else what the address gives."""
    file = kept / f"{sha256}.fab"
    try:
        content = read_bytes(file, MOST_BYTES, follow=False)
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
    except OSError:
        pass
    content = fetch(address)
    given = hashlib.sha256(content).hexdigest()
    if given != sha256:
        raise SettingsError(
            f"FL_APP: {address} gave a file with the SHA-256 {given}, expected {sha256}: nothing of "
            "it is used. Compare with `sha256sum` where the app was built, and give the right one"
        )
    with state_errors(file):
        kept.mkdir(parents=True, exist_ok=True)
        replace_file(file, content, mode=0o600)
    return content


def fetch_bundle(address: str, *, transport: httpx.BaseTransport | None = None) -> bytes:
    """Return the body of an https address, of at most ``MOST_BYTES``; certificates are verified.

    Raises
    ------
    ClusterError
        Nothing answers, the connection breaks or is not trusted, or the server is at fault.
    SettingsError
        There is no such file, it is too large, or it is redirected to an address without TLS.
    """
    try:
        with httpx.Client(timeout=CONNECT_S, transport=transport) as client:
            return _body(client, address)
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise ClusterError(
            f"FL_APP: {address} cannot be fetched: {error or type(error).__name__}; expected a server that "
            f"this machine reaches and whose certificate it trusts. Fix that, or copy the FAB to "
            f"{APPS_FOLDER}; it is tried again"
        ) from error


def _body(client: httpx.Client, address: str) -> bytes:
    url = httpx.URL(address)
    for _ in range(MOST_REDIRECTS + 1):
        with client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer:
            if answer.next_request is None:
                return _content(answer, address)
            url = answer.next_request.url
        if url.scheme != "https":
            raise SettingsError(
                f"FL_APP: {address} leads to {url}, which is not https: give an https address"
            )
    raise SettingsError(
        f"FL_APP: {address} is redirected more than {MOST_REDIRECTS} times: give the last one"
    )


def _content(answer: httpx.Response, address: str) -> bytes:
    if answer.status_code != httpx.codes.OK:
        text = f"FL_APP: {address} answers with {answer.status_code}, expected the FAB"
        raise _of_status(answer.status_code)(f"{text}: give an address that anybody can fetch it from")
    content = bytearray()
    deadline = time.monotonic() + FETCH_S
    for piece in answer.iter_raw():
        content += piece
        if len(content) > MOST_BYTES:
            raise SettingsError(
                f"FL_APP: {address} gives more than {MOST_BYTES} bytes, the most that a SuperLink takes"
            )
        if time.monotonic() > deadline:
            raise ClusterError(f"FL_APP: {address} took more than {FETCH_S:.0f} s; it is tried again")
    return bytes(content)


def _of_status(status: int) -> type[OneflowerError]:
    return ClusterError if status in _TRANSIENT or status >= 500 else SettingsError
