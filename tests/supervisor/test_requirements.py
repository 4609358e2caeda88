"""What an app asks for is compared with what is installed, and all that is missing is listed."""

import importlib.metadata

import pytest

from oneflower.errors import SettingsError
from oneflower.flower.fab_file import repacked_fab
from oneflower.supervisor.requirements import other_flower, require_packages, unmet

from .test_own_app import PYPROJECT, bundle


def missing(*dependencies):
    return [str(each) for each in unmet(dependencies)]


@pytest.mark.parametrize(
    "asked",
    [
        ["flwr[simulation]>=1.20.0", "numpy>=2"],
        ["oneflower"],
        ["absent-package; sys_platform == 'win32'"],
        ["absent-package; python_version < '3'", "typer[all]"],
        ["flwr>=99"],
        [],
    ],
)
def test_what_is_there_or_not_needed_here_is_met(asked):
    assert missing(*asked) == []


def test_what_is_absent_or_of_another_version_is_named():
    version = importlib.metadata.version("numpy")
    assert missing("absent-package[extra]>=2", "numpy>=99", "numpy") == [
        "absent-package[extra]: wanted >=2, installed none",
        f"numpy: wanted >=99, installed {version}",
    ]


def test_what_an_extra_needs_is_looked_at(monkeypatch):
    needs = {"outer": ['inner>=2; extra == "more"', "numpy"], "inner": []}
    versions = {"outer": "1.0", "inner": "1.0", "numpy": "2.4"}
    monkeypatch.setattr(importlib.metadata, "requires", needs.get)
    monkeypatch.setattr(importlib.metadata, "version", versions.__getitem__)
    assert missing("outer") == []
    assert missing("outer[more]") == ["inner: wanted >=2, installed 1.0"]


def test_packages_that_need_each_other_end(monkeypatch):
    needs = {"one": ["two"], "two": ["one"]}
    monkeypatch.setattr(importlib.metadata, "requires", needs.get)
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "1.0")
    assert missing("one") == []


def test_text_that_is_no_requirement_is_named():
    assert missing("!!") == ["!!: wanted a requirement in the form of pip, installed none"]


def test_an_app_is_refused_before_its_start_with_the_whole_list():
    project = PYPROJECT.replace(
        'version = "1.2.0"', 'version = "1.2.0"\ndependencies = ["absent>=1", "gone"]'
    )
    fab = repacked_fab(bundle({"pyproject.toml": project}), "a.fab")
    with pytest.raises(SettingsError, match=r"(?s)absent: wanted >=1.*gone: wanted any.*apps/wheels"):
        require_packages(fab)


def test_another_flower_is_told_and_not_refused():
    assert other_flower(["flwr[simulation]>=1.40"]) == ">=1.40"
    assert other_flower(["flwr[simulation]>=1.20", "!!"]) == ""
