"""FL_APP: an own app is taken from a folder, a FAB or an address, or refused with the reason."""

import hashlib
import io
import tomllib
import zipfile

import httpx
import pytest

from oneflower.errors import AppError, ClusterError, SettingsError, StateError
from oneflower.flower.fab import build_fab
from oneflower.flower.fab_file import MOST_BYTES, repacked_fab
from oneflower.kinds import may_pass
from oneflower.settings import APP_CONFIG_KEYS, resolve
from oneflower.supervisor.own_app import fetch_bundle, own_app

PYPROJECT = """
[project]
name = "tiny-app"
version = "1.2.0"

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "tiny_app.server:app"
clientapp = "tiny_app.client:app"

[tool.flwr.app.config]
own-key = "text"
"""
FILES = {"pyproject.toml": PYPROJECT, "tiny_app/server.py": "app = 1\n", "tiny_app/client.py": "app = 2\n"}
URL = "https://host.example/tiny.fab"


@pytest.fixture
def apps(tmp_path):
    folder = tmp_path / "apps"
    for name, text in FILES.items():
        path = folder / "tiny" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def bundle(files=None, *, content=None, more=()):
    """Pack as `flwr build` does, without oneflower; ``more`` are entries that it would not write."""
    files = {**FILES, **(files or {})}
    lines = "".join(
        f"{name},{hashlib.sha256(text.encode()).hexdigest()},{8 * len(text)}\n"
        for name, text in files.items()
        if name != "pyproject.toml"
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(".info/CONTENT", lines if content is None else content)
        for entry, text in more:
            archive.writestr(entry, text)
    return buffer.getvalue()


def take(given, apps, fetch=None):
    return own_app(given, apps=apps, kept=apps.parent / "kept", fetch=fetch)


def declared(fab):
    with zipfile.ZipFile(io.BytesIO(fab.content)) as archive:
        return tomllib.loads(archive.read("pyproject.toml").decode())["tool"]["flwr"]["app"]["config"]


@pytest.mark.parametrize("given", ["tiny", "/opt/flower/apps/tiny"])
def test_a_folder_is_packed_with_oneflowers_keys(apps, given):
    fab = take(given, apps)
    assert (fab.id, fab.version) == ("tests/tiny-app", "1.2.0")
    assert set(declared(fab)["oneflower"]) == set(APP_CONFIG_KEYS)
    assert fab.own == {"own-key": "text"}
    assert "num-server-rounds" not in (apps / "tiny/pyproject.toml").read_text()


def test_a_fab_keeps_its_id_and_version_and_gets_the_keys(apps):
    (apps / "tiny.fab").write_bytes(bundle())
    fab = take("tiny.fab", apps)
    assert (fab.id, fab.version) == ("tests/tiny-app", "1.2.0")
    assert set(declared(fab)["oneflower"]) == set(APP_CONFIG_KEYS)
    assert fab.own == {"own-key": "text"}
    assert fab == build_fab(apps / "tiny"), "folder and bundle of one app are one app"


@pytest.mark.parametrize("given", ["absent", "absent.fab"])
def test_what_is_not_there_may_come(apps, given):
    """A share that is mounted late is the environment's fault."""
    with pytest.raises(StateError, match=f"FL_APP={given} cannot be read") as told:
        take(given, apps)
    assert may_pass(told.value)


def test_a_folder_that_is_no_app_is_refused_for_good(apps):
    (apps / "tiny/tiny_app/server.py").unlink()
    with pytest.raises(AppError, match=r"(?s)FL_APP=tiny.*no module tiny_app\.server") as told:
        take("tiny", apps)
    assert not may_pass(told.value)


def test_a_link_out_of_the_folder_is_refused(apps, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (apps / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AppError, match="out of /opt/flower/apps"):
        take("out", apps)


def test_a_link_within_the_folder_is_followed(apps):
    (apps / "now").symlink_to("tiny")
    assert take("now", apps) == take("tiny", apps)


def test_a_file_of_the_machine_is_not_packed_through_a_link(apps, tmp_path):
    """It would travel to every SuperNode."""
    (tmp_path / "secret.py").write_text("key = 1\n")
    (apps / "tiny/tiny_app/more.py").symlink_to(tmp_path / "secret.py")
    with pytest.raises(AppError, match=r"tiny_app/more\.py is a symbolic link out"):
        take("tiny", apps)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"no zip", "cannot be unpacked"),
        (bytes(MOST_BYTES + 1), "bytes, and a SuperLink takes"),
        (bundle(content="tiny_app/server.py,00,8\n"), "not those of its .info/CONTENT"),
        (bundle(more=[("tiny_app/besides.py", "x = 1\n")]), "not those of its .info/CONTENT"),
        (bundle(more=[("../out.py", "x = 1\n")]), "leaves its folder"),
        (bundle(more=[("/etc/out.py", "x = 1\n")]), "leaves its folder"),
        (bundle(more=[("a\\b.py", "x = 1\n")]), "leaves its folder"),
        (bundle(more=[("C:out.py", "x = 1\n")]), "leaves its folder"),
        (bundle(more=[("a\nb.py", "x = 1\n")]), "cannot be printed"),
        (bundle({"pyproject.toml": "["}), "cannot be read as TOML"),
        (
            bundle({"pyproject.toml": PYPROJECT.replace("server:app", "other:app")}),
            "no module tiny_app.other",
        ),
    ],
)
def test_a_bad_bundle_is_refused_before_anything_of_it_runs(content, told):
    with pytest.raises(AppError) as refused:
        repacked_fab(content, "a.fab")
    assert told in str(refused.value)
    assert "a.fab" in str(refused.value)


def test_a_link_in_a_bundle_is_refused():
    link = zipfile.ZipInfo("tiny_app/link.py")
    link.external_attr = 0o120777 << 16
    with pytest.raises(AppError, match="is a link or a device"):
        repacked_fab(bundle(more=[(link, "/etc/passwd")]), "a.fab")


def test_a_bomb_is_refused_by_its_declared_size(monkeypatch):
    zeros = "0" * (101 * 1024 * 1024)
    with pytest.raises(AppError, match="unpacks to"):
        repacked_fab(bundle({"tiny_app/big.py": zeros}), "a.fab")


def test_an_address_is_fetched_once_and_kept_by_its_hash(apps):
    content, asked = bundle(), []

    def fetch(address):
        asked.append(address)
        return content

    given = f"{URL}#sha256={hashlib.sha256(content).hexdigest().upper()}"
    assert take(given, apps, fetch) == take(given, apps, fetch)
    assert asked == [URL]


def test_a_kept_bundle_that_was_damaged_is_fetched_again(apps):
    content = bundle()
    given = f"{URL}#sha256={hashlib.sha256(content).hexdigest()}"
    first = take(given, apps, lambda _: content)
    (kept,) = (apps.parent / "kept").iterdir()
    kept.write_bytes(b"cut off")
    assert take(given, apps, lambda _: content) == first


def test_another_file_than_the_expected_one_is_refused_and_not_kept(apps):
    given = f"{URL}#sha256={'0' * 64}"
    with pytest.raises(SettingsError, match=r"gave a file with the SHA-256 .*expected 0000"):
        take(given, apps, lambda _: bundle())
    assert not (apps.parent / "kept").exists()


def fetched(handler):
    return fetch_bundle(URL, transport=httpx.MockTransport(handler))


@pytest.mark.parametrize(("status", "kind"), [(500, ClusterError), (429, ClusterError), (404, SettingsError)])
def test_the_servers_fault_may_pass_and_a_wrong_address_does_not(status, kind):
    with pytest.raises(kind, match=str(status)):
        fetched(lambda _: httpx.Response(status))


def test_a_server_that_does_not_answer_may_do_so_later():
    def refuse(request):
        raise httpx.ConnectError("connection refused", request=request)

    with pytest.raises(ClusterError, match="connection refused") as told:
        fetched(refuse)
    assert may_pass(told.value)


def test_a_redirection_stays_with_tls():
    there = {"https://host.example/tiny.fab": "https://other.example/a", "https://other.example/a": ""}

    def answer(request):
        to = there[str(request.url)]
        return (
            httpx.Response(302, headers={"Location": to})
            if to
            else httpx.Response(200, stream=httpx.ByteStream(b"fab"))
        )

    assert fetched(answer) == b"fab"
    there["https://host.example/tiny.fab"] = "http://other.example/a"
    with pytest.raises(SettingsError, match="not https"):
        fetched(answer)


def test_a_redirection_in_a_circle_and_a_large_file_end():

    with pytest.raises(SettingsError, match="redirected more"):
        fetched(lambda _: httpx.Response(302, headers={"Location": URL}))
    with pytest.raises(SettingsError, match="gives more than"):
        fetched(lambda _: httpx.Response(200, stream=httpx.ByteStream(bytes(MOST_BYTES + 1))))


@pytest.mark.parametrize(
    "given",
    [
        "/etc/app",
        "../app",
        "/opt/flower/apps",
        "http://host/a.fab#sha256=" + "a" * 64,
        "https://host/a.fab",
        "https://host/a.fab#sha256=123",
        "https://me:secret@host/a.fab#sha256=" + "a" * 64,
    ],
)
def test_what_is_no_app_is_refused_with_the_settings(given):
    with pytest.raises(SettingsError, match="FL_APP is"):
        resolve({}, {"FL_APP": given})


def test_one_superlink_trains_one_app():
    with pytest.raises(SettingsError, match="FL_APP is 'mine' and FL_USE_CASE is 'image-classification'"):
        resolve({}, {"FL_APP": "mine", "FL_USE_CASE": "image-classification"})
    assert resolve({}, {"FL_APP": "mine", "FL_USE_CASE": "none"}).settings.app == "mine"
