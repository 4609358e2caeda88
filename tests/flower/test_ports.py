"""Each supported Flower has a port with the same names; nothing of another Flower is imported here."""

import ast
from itertools import pairwise
from pathlib import Path

import pytest

from oneflower.flower.version import DEPLOYED, ROOMS

FLOWER = Path(__file__).parents[2] / "src" / "oneflower" / "flower"
PAGE = Path(__file__).parents[2] / "docs" / "flower-versions.md"


def port_of(version):
    return ast.parse((FLOWER / ROOMS[version] / "port.py").read_text(encoding="utf-8"))


def public(tree):
    """Return the names in `__all__`."""
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return ast.literal_eval(value)


def bound(tree):
    """Return what a port imports or defines under which name."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            found |= {each.asname or each.name: node.module for each in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = "here"
        elif isinstance(node, ast.Assign):
            found[ast.unparse(node.targets[0])] = "here"
    return found


def signatures(tree):
    return {node.name: ast.unparse(node.args) for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_ports_have_the_same_names():
    ports = [port_of(version) for version in ROOMS]
    assert all(public(one) == public(other) for one, other in pairwise(ports))
    for one, other in pairwise(map(signatures, ports)):
        assert [name for name in one.keys() & other.keys() if one[name] != other[name]] == []


@pytest.mark.parametrize("version", ROOMS)
def test_a_port_binds_every_name_that_it_offers(version):
    tree = port_of(version)
    assert set(public(tree)) - set(bound(tree)) == set()


def test_the_deployed_version_is_the_one_that_is_required():
    """`pip install oneflower` installs it; the others are a choice."""
    text = (FLOWER.parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"flwr=={DEPLOYED}"' in text


@pytest.mark.parametrize("version", [each for each in ROOMS if each != DEPLOYED])
def test_the_page_names_every_place_that_moved(version):
    before, now = bound(port_of(DEPLOYED)), bound(port_of(version))
    moved = {
        f"| `{name}` | `{before[name]}` | `{now[name]}` |"
        for name in before.keys() & now.keys()
        if before[name] != now[name] and "here" not in {before[name], now[name]}
    }
    assert moved
    rows = PAGE.read_text(encoding="utf-8").splitlines()
    assert moved - set(rows) == set()
