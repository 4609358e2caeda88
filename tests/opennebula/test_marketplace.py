"""The entries of the marketplace have what their neighbours have.

What is stated of the neighbours was read in marketplace-community at fa6fbbd: ``appliances/``, ``README.md``.
"""

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from oneflower.errors import SettingsError
from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates.catalogue import catalogue
from oneflower.opennebula.templates.disk_image import describe
from oneflower.opennebula.templates.marketplace import image_entry

APPLIANCES = Path(__file__).parents[2] / "appliances"
CATALOGUE = catalogue()
ENTRIES = {
    name: yaml.safe_load(content)
    for name, content in CATALOGUE.items()
    if re.search(r"/[0-9a-f-]{36}\.yaml$", name)
}
BUILT = datetime(2026, 11, 26, 4, 0, tzinfo=UTC)
# Of rabbitmq, lithops, ueransim and of the roles of lithops_service; without a type it is an image.
COMMON = [
    "name",
    "version",
    "publisher",
    "description",
    "short_description",
    "tags",
    "creation_time",
    "os-id",
    "os-release",
    "os-arch",
    "hypervisor",
    "opennebula_version",
    "opennebula_template",
    "logo",
]
FIELDS = {
    None: {*COMMON, "format", "images"},
    "VMTEMPLATE": {*COMMON, "format", "type", "disks", "images"},
    "SERVICE_TEMPLATE": {*COMMON, "type", "roles", "images"},
}


@pytest.fixture
def qcow2(tmp_path):
    path = tmp_path / "oneflower-superlink.qcow2"
    path.write_bytes(b"QFI\xfb" + bytes(20) + (20 * 1024**3).to_bytes(8, "big") + bytes(3_000_000))
    return path


def test_there_are_two_images_two_templates_and_the_service():
    by_type = [entry.get("type") for entry in ENTRIES.values()]
    assert sorted(map(str, by_type)) == ["None", "None", "SERVICE_TEMPLATE", "VMTEMPLATE", "VMTEMPLATE"]
    names = {entry["name"] for entry in ENTRIES.values()}
    (composed,) = [entry for entry in ENTRIES.values() if entry.get("type") == "SERVICE_TEMPLATE"]
    assert set(composed["roles"].values()) <= names
    for entry in ENTRIES.values():
        assert set(entry.get("disks", [])) <= names
        assert "_" not in entry["name"]


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_an_entry_has_the_fields_of_its_neighbours(name):
    entry = ENTRIES[name]
    assert set(entry) == FIELDS[entry.get("type")]
    assert isinstance(entry["creation_time"], int)
    assert re.fullmatch(r"\d+\.\d+\.\d+-\d+-20\d{6}", entry["version"])


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_an_entry_lists_no_release_that_its_neighbours_do_not(name):
    """The server compares exactly: an entry that lists 7.2 hides all others from users of 7.2 and 7.4."""
    assert ENTRIES[name]["opennebula_version"] == "6.8, 6.10, 7.0"


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_a_logo_is_a_file_of_the_folder_of_logos(name):
    """All of the neighbours' logos are PNG."""
    assert (APPLIANCES / "logos" / ENTRIES[name]["logo"]).read_bytes().startswith(b"\x89PNG")


def test_the_service_has_no_tests_as_its_neighbours_have_none():
    names = {name.split("/")[1] for name in CATALOGUE if name.startswith("oneflower-service/")}
    assert {"README.md", "CHANGELOG.md"} <= names
    assert not names & {"metadata.yaml", "context.yaml", "tests.yaml", "tests"}


def test_a_build_fills_in_its_image(qcow2):
    url = "https://example.org/oneflower-superlink.qcow2"
    published = describe(qcow2, url)
    entry = yaml.safe_load(image_entry(Machine.SUPERLINK, built=BUILT, published=published))
    assert entry["images"] == [
        {
            "name": "oneflower-superlink",
            "url": url,
            "type": "OS",
            "dev_prefix": "vd",
            "driver": "qcow2",
            # Of the disk that it holds, not of the file.
            "size": 20 * 1024**3,
            "checksum": {
                "md5": hashlib.md5(qcow2.read_bytes(), usedforsecurity=False).hexdigest(),
                "sha256": hashlib.sha256(qcow2.read_bytes()).hexdigest(),
            },
        }
    ]
    assert entry["version"].endswith("-1-20261126")
    assert entry["creation_time"] == int(BUILT.timestamp())


@pytest.mark.parametrize(
    ("content", "url", "expected"),
    [
        (b"no disk", "https://example.org/a", "not a qcow2"),
        (b"QFI\xfb", "https://example.org/a", "not a qcow2"),
        (b"QFI\xfb" + bytes(40), "example.org/a", "--url"),
        (b"QFI\xfb" + bytes(40), "https://example.org/a b", "--url"),
        (None, "https://example.org/a", "cannot be read"),
    ],
)
def test_what_cannot_be_published_is_refused(tmp_path, content, url, expected):
    path = tmp_path / "image"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=expected):
        describe(path, url)
