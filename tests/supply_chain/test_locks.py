"""The images install what the locks name, by hash, and nothing else; the locks name no place of anybody's."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from oneflower.opennebula.roles import IMAGES
from oneflower.settings.use_cases import FRAMEWORKS

from .audit import FOUND, NONE, UNKNOWN, judge

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "appliances/image"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = ("apps", "images", "parquet", "llm", "dashboard")
LINE = re.compile(r"[a-z0-9.\-]+==[^\s;]+( ; [^\\]+)?( \\)?|    --hash=sha256:[0-9a-f]{64}( \\)?")


def locked(name):
    """Return the versions of each package that a lock names: more than one, where they differ by platform."""
    found = {}
    for line in (IMAGE / name).read_text().splitlines():
        if not line.startswith(" "):
            requirement = Requirement(line.removesuffix(" \\"))
            (version,) = requirement.specifier
            found.setdefault(requirement.name, set()).add(version.version)
    return found


def wanted(*extras):
    given = PROJECT["dependencies"] + [
        each for extra in extras for each in PROJECT["optional-dependencies"][extra]
    ]
    return [Requirement(each) for each in given]


LOCKED_EXTRAS = {
    "machine.lock": (),
    "container.lock": EXTRAS,
    "container-gpu.lock": (*EXTRAS, "gpu"),
    "container-tensorflow.lock": ("tensorflow", "jax", "parquet", "dashboard"),
    "container-sklearn.lock": ("sklearn", "xgboost", "parquet", "dashboard"),
}


@pytest.mark.parametrize("name", [*LOCKED_EXTRAS, "data.lock"])
def test_a_lock_holds_names_versions_and_hashes_and_no_place(name):
    lines = (IMAGE / name).read_text().splitlines()
    assert lines
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    text = "\n".join(lines)
    assert "://" not in text
    for begin in re.finditer(r"^[a-z].*$", text, re.MULTILINE):
        assert text[begin.end() :].startswith("\n    --hash="), begin[0]


@pytest.mark.parametrize(("name", "extras"), LOCKED_EXTRAS.items())
def test_a_lock_names_what_the_project_asks_for(name, extras):
    """Where this fails after a change of pyproject.toml: make lock."""
    versions = locked(name)
    for requirement in wanted(*extras):
        for version in versions[requirement.name.lower()]:
            assert requirement.specifier.contains(version), requirement


def test_the_data_packages_are_those_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    given = re.search(r"^DATA_PACKAGES := (.*)$", makefile, re.MULTILINE)[1].split()
    assert {f"{name}=={min(versions)}" for name, versions in locked("data.lock").items()} == set(given)


def test_each_value_of_ml_framework_has_an_image_and_each_image_a_lock_in_the_recipe():
    recipe = (IMAGE / "Containerfile").read_text()
    assert set(IMAGES) == set(FRAMEWORKS)
    for framework, kind in IMAGES.items():
        name = f"container-{kind}.lock" if kind else "container.lock"
        assert f"{kind or 'pytorch'}) lock={name};" in recipe
        extra = {"pytorch": "apps", "any": "sklearn"}.get(framework, framework)
        assert extra in LOCKED_EXTRAS[name]


def test_the_recipes_install_by_hash_unless_they_are_told_otherwise():
    recipe, script = (IMAGE / "Containerfile").read_text(), (IMAGE / "install.sh").read_text()
    assert 'ARG LOCKED="YES"' in recipe
    assert recipe.count("--require-hashes") == 2
    assert 'LOCKED="${LOCKED:-YES}"' in script
    assert '--require-hashes -r "$HERE/machine.lock"' in script


PACKAGE = {"name": "a", "version": "1"}
SKIPPED = {"name": "b", "skip_reason": "not found"}
BAD = {**PACKAGE, "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}


@pytest.mark.parametrize(
    ("document", "code", "words"),
    [
        (None, UNKNOWN, "gave no answer; its last line is: timed out"),
        ({"dependencies": [{**PACKAGE, "vulns": []}]}, NONE, "no known vulnerability"),
        ({"dependencies": [{**PACKAGE, "vulns": []}, SKIPPED]}, UNKNOWN, "gives: not found"),
        ({"dependencies": [BAD, SKIPPED]}, FOUND, "CVE-1, mended in 2"),
    ],
)
def test_an_audit_that_looked_nothing_up_is_not_a_good_one(document, code, words):
    found, lines = judge("x.lock", document, "timed out")
    assert found == code
    assert words in "\n".join(lines)
