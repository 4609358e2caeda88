"""The supported versions of Flower, each with its folder; what is said of any other."""

from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest

from oneflower.errors import FlowerVersionError
from oneflower.flower import version
from oneflower.kinds import may_pass


@pytest.fixture
def installed(monkeypatch):
    """Play the distributions that are installed, by name."""
    found = {}

    def distribution(package):
        if package not in found:
            raise PackageNotFoundError(package)
        return SimpleNamespace(version=found[package], locate_file=lambda _: "/v/site-packages")

    monkeypatch.setattr(version, "distribution", distribution)
    version.supported_version.cache_clear()
    yield found
    version.supported_version.cache_clear()


@pytest.mark.parametrize(("given", "room"), [("1.25.0", "v1_25"), ("1.42.0", "v1_42")])
def test_a_supported_version_has_a_folder(installed, given, room):
    installed["flwr"] = given
    assert version.supported_room() == room


def test_one_version_is_deployed(installed):
    installed["flwr"] = version.DEPLOYED
    version.require_deployed()


def test_any_other_supported_version_is_refused_for_clusters_with_what_works_with_it(installed):
    installed["flwr"] = "1.42.0"
    with pytest.raises(FlowerVersionError) as caught:
        version.require_deployed()
    text = str(caught.value)
    assert text.startswith("Flower 1.42.0 is installed in /v/site-packages: with it `oneflower simulate` and")
    assert text.endswith("pip install flwr==1.25.0")


def test_no_folder_but_that_of_the_installed_flower_is_entered(installed):
    installed["flwr"] = "1.42.0"
    version.check_room("oneflower.flower.v1_42")
    with pytest.raises(FlowerVersionError, match="v1_25 is not the folder for the installed Flower"):
        version.check_room("oneflower.flower.v1_25")


@pytest.mark.parametrize("other", ["1.26.0", "1.25.1", "1.42.1", "2.0.0", "1.25.0.dev20260101", "1.24.0"])
def test_any_other_version_is_refused(installed, other):
    installed["flwr"] = other
    with pytest.raises(FlowerVersionError, match=f"Flower {other} is installed in /v/site-packages"):
        version.supported_room()


def test_a_nightly_build_is_found_under_its_own_name(installed):
    installed["flwr-nightly"] = "1.26.0.dev20260101"
    with pytest.raises(FlowerVersionError, match=r"Flower 1\.26\.0\.dev20260101 is"):
        version.supported_room()


def test_nothing_that_is_installed_is_refused_with_what_to_install(installed):
    with pytest.raises(FlowerVersionError, match=r"Flower is not installed\. .* pip install flwr==1\.25\.0"):
        version.supported_room()


def test_a_refusal_is_final():
    """No supervisor tries it again: somebody has to install another Flower."""
    assert not may_pass(FlowerVersionError("text"))


def test_an_app_ends_with_the_text_and_the_exit_code(installed, capsys):
    with pytest.raises(SystemExit) as caught:
        version.exit_unless_supported()
    assert caught.value.code == 4
    assert capsys.readouterr().err.startswith("error: Flower is not installed.")
