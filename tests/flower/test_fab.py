"""An app's folder is packed in memory with oneflower's keys, or refused with all that is missing."""

import io
import tomllib
import zipfile

import pytest
from flwr.common.config import flatten_dict, fuse_dicts

from oneflower.errors import AppError
from oneflower.flower.fab import build_fab
from oneflower.settings import APP_CONFIG_KEYS, resolve, run_config, submitted, training_config

PLAIN = {key: value for key, value in APP_CONFIG_KEYS.items() if key != "operator-set"}
TABLE_OF_OURS = {f"oneflower.{key}": value for key, value in APP_CONFIG_KEYS.items()}

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
num-server-rounds = 9
own-key = "text"
"""


@pytest.fixture
def app(tmp_path):
    folder = tmp_path / "tiny"
    (folder / "tiny_app").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "tiny_app" / "server.py").write_text("app = ServerApp()\n")
    (folder / "tiny_app" / "client.py").write_text("def app(): ...\n")
    return folder


def change(app, old, new):
    path = app / "pyproject.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def unpacked(fab):
    with zipfile.ZipFile(io.BytesIO(fab.content)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def config(fab):
    return flatten_dict(tomllib.loads(unpacked(fab)["pyproject.toml"])["tool"]["flwr"]["app"]["config"])


def test_an_app_is_packed_with_its_name_and_version(app):
    fab = build_fab(app)
    assert (fab.id, fab.version) == ("tests/tiny-app", "1.2.0")
    assert {"tiny_app/server.py", "tiny_app/client.py", "pyproject.toml"} <= set(unpacked(fab))


def test_the_same_folder_gives_the_same_bytes(app):
    assert build_fab(app) == build_fab(app)


def test_missing_keys_are_declared_in_the_packed_copy_only(app):
    before = (app / "pyproject.toml").read_bytes()
    packed = config(build_fab(app))
    assert set(packed) == {*PLAIN, *TABLE_OF_OURS, "own-key"}
    assert packed["strategy"] == packed["oneflower.strategy"] == APP_CONFIG_KEYS["strategy"]
    assert (app / "pyproject.toml").read_bytes() == before


def test_the_apps_own_defaults_win(app):
    packed = config(build_fab(app))
    assert packed["num-server-rounds"] == 9
    assert packed["own-key"] == "text"


def test_an_app_without_a_config_section_gets_one(app):
    change(app, PYPROJECT[PYPROJECT.index("[tool.flwr.app.config]") :], "")
    assert config(build_fab(app)) == {**PLAIN, **TABLE_OF_OURS}


@pytest.mark.parametrize(
    "table", ["[tool.flwr.app.config.strategy]\nfraction-train = 0.5", '"strategy.x" = 1']
)
def test_a_table_of_the_apps_own_clashes_with_no_key_of_ours(app, table):
    """FlowerTune examples have such a table; a run failed with "Key 'strategy' is not present"."""
    head = "[tool.flwr.app.config]"
    change(app, head, "\n".join([table, head] if "[" in table else [head, table]))
    fab = build_fab(app)
    settings = resolve({"FL_STRATEGY": "Krum", "FL_NUM_ROUNDS": "4"}).settings
    fused = fuse_dicts(config(fab), submitted(run_config(settings), fab.own))
    assert "strategy" not in fused
    assert fused.keys() >= {key for key in fab.own if key.startswith("strategy.")} != set()
    assert training_config(fused).strategy == "Krum"


def test_the_apps_own_key_of_a_plain_name_gets_what_the_operator_set(app):
    """What the operator did not set is the author's."""
    fab = build_fab(app)
    for given, own, ours in (({}, 9, 3), ({"FL_NUM_ROUNDS": "4"}, 4, 4)):
        fused = fuse_dicts(config(fab), submitted(run_config(resolve(given).settings), fab.own))
        assert fused["num-server-rounds"] == own
        assert training_config(fused).num_rounds == ours
        assert fused["seed"] == 42


def test_data_beside_the_code_stay_out(app):
    (app / "data").mkdir()
    (app / "data" / "images.npz").write_bytes(bytes(20_000_000))
    assert len(build_fab(app).content) < 100_000


def test_what_git_ignores_stays_out(app):
    (app / "secret.py").write_text("")
    (app / ".gitignore").write_text("secret.py\n")
    assert "secret.py" not in unpacked(build_fab(app))


@pytest.mark.parametrize(
    ("ignored", "rule", "back"),
    [
        ("# ours\n\ntiny_app/\n", "line 3 of .gitignore (tiny_app/)", '"!/tiny_app/"'),
        # Flower 1.42 refuses this one itself, because pyproject.toml is left out.
        pytest.param("*\n", "line 1 of .gitignore (*)", '"!/tiny_app/"', marks=pytest.mark.deployed),
        ("client.py", "line 1 of .gitignore (client.py)", '"!/tiny_app/"'),
    ],
)
def test_a_gitignore_that_names_the_apps_own_package_is_refused_with_its_line(app, ignored, rule, back):
    """Flower packs such an app, and fails with "not enough values to unpack" or "No module named"."""
    (app / ".gitignore").write_text(ignored)
    with pytest.raises(AppError, match="parts that Flower does not pack") as refused:
        build_fab(app)
    assert f"tiny_app/client.py is left out of the bundle by {rule}" in str(refused.value)
    assert back in str(refused.value)
    with (app / ".gitignore").open("a") as file:
        file.write(f"\n{back.strip(chr(34))}\n")
    assert {"tiny_app/server.py", "tiny_app/client.py"} <= set(unpacked(build_fab(app)))


def test_a_package_behind_a_link_is_refused_with_the_rule(app, tmp_path):
    (app / "tiny_app").rename(tmp_path / "elsewhere")
    (app / "tiny_app").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AppError, match="a symbolic link to a folder, which Flower does not follow"):
        build_fab(app)


@pytest.mark.deployed  # Flower 1.42 refuses it itself, because pyproject.toml is left out
def test_a_bundle_of_nothing_is_refused(app):
    """Parts that are installed on every machine: Flower packs no file, and cannot unpack what it packed."""
    change(app, "tiny_app.server:app", "json.decoder:JSONDecoder")
    change(app, "tiny_app.client:app", "json.encoder:JSONEncoder")
    (app / ".gitignore").write_text("*\n")
    with pytest.raises(AppError, match=r"leaves out all files but pyproject\.toml"):
        build_fab(app)


def test_code_that_is_too_large_is_refused(app):
    import random

    (app / "tiny_app" / "table.py").write_bytes(b"#" + random.Random(1).randbytes(11_000_000))
    with pytest.raises(AppError, match=r"exceeds maximum.*largest files: tiny_app/table.py \(11\.0 MB\)"):
        build_fab(app)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(AppError, match="no app folder"):
        build_fab(tmp_path / "none")


def test_a_folder_without_a_pyproject(tmp_path):
    with pytest.raises(AppError, match=r"no pyproject\.toml.*\[tool\.flwr\.app\.components\]"):
        build_fab(tmp_path)


@pytest.mark.parametrize("content", [b"[project", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_pyproject_that_is_no_toml(app, content):
    (app / "pyproject.toml").write_bytes(content)
    with pytest.raises(AppError, match="cannot be read as TOML"):
        build_fab(app)


def test_a_python_project_that_is_no_flower_app(app):
    (app / "pyproject.toml").write_text('[project]\nname = "a"\nversion = "1"\n')
    with pytest.raises(AppError, match=r"Missing \[tool\.flwr\.app\]"):
        build_fab(app)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('publisher = "tests"', "", "publisher"),
        ('version = "1.2.0"', "", "version"),
        ('serverapp = "tiny_app.server:app"', "", "serverapp"),
        ("tiny_app.server:app", "tiny_app.server", "module:attribute"),
        ("tiny_app.server:app", "tiny_app.gone:app", "no module tiny_app.gone"),
        ("tiny_app.server:app", "no_such_package_x.server:app", "no module no_such_package_x"),
        ("tiny_app.client:app", "tiny_app.client:main", "defines no main"),
        ('own-key = "text"', "own-key = [1]", "own-key"),
        ('[tool.flwr.app]\npublisher = "tests"', "[tool]\nflwr = 3", "TOML"),
    ],
)
def test_what_is_missing_is_named(app, old, new, said):
    change(app, old, new)
    with pytest.raises(AppError, match=said):
        build_fab(app)


def test_everything_that_is_wrong_is_named_at_once(app):
    (app / "tiny_app" / "server.py").unlink()
    (app / "tiny_app" / "client.py").write_text("def (\n")
    with pytest.raises(AppError) as caught:
        build_fab(app)
    assert "no module tiny_app.server" in str(caught.value)
    assert "client.py is no valid Python" in str(caught.value)


def test_the_apps_code_is_not_run(app):
    (app / "tiny_app" / "__init__.py").write_text("raise SystemExit('run')\n")
    (app / "tiny_app" / "server.py").write_text("raise SystemExit('run')\napp = 1\n")
    assert build_fab(app)


@pytest.mark.parametrize(
    "code", ["from lib import app", "import lib as app", "from lib import *", "if 1:\n    app = 2"]
)
def test_an_app_may_be_bound_in_any_way(app, code):
    (app / "tiny_app" / "server.py").write_text(code + "\n")
    assert build_fab(app)


def test_an_app_may_live_in_an_installed_library(app):
    change(app, "tiny_app.server:app", "email.message:Message")
    assert build_fab(app)
