"""Nothing reaches into Flower past the door, and nothing private is used without a fingerprint.

Who adds an import, a patch, an attribute or a table of Flower's to a version's folder and does not declare it
in that module's `sources` is told here what is missing, with the fingerprint to write down. The folder of the
installed Flower is examined: `make newest` examines the other.
"""

import argparse
import ast
import builtins
import hashlib
import importlib
import inspect
import logging
import os
import pkgutil
import re
import selectors
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from graphlib import TopologicalSorter
from mmap import mmap
from pathlib import Path
from types import CodeType, ModuleType

import flwr.app
import flwr.clientapp
import flwr.common
import flwr.serverapp
import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message as ProtoMessage

from oneflower.flower.private import PrivateUse, fingerprint, text_of
from oneflower.flower.version import DEPLOYED, ROOMS, supported_room, supported_version
from oneflower.settings.formats import FLOWER_VERSION

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "oneflower"
API, DOOR = PACKAGE / "flower" / "api.py", PACKAGE / "flower" / "door.py"
ROOM = PACKAGE / "flower" / supported_room()
MODULES = sorted(PACKAGE.rglob("*.py"))
IN_ROOM = [path for path in MODULES if ROOM in path.parents]
FOLDERS = {PACKAGE / "flower" / room for room in ROOMS.values()}
OUTSIDE = [path for path in MODULES if not FOLDERS & set(path.parents) and path != API]
APPS = sorted((ROOT / "apps").rglob("*.py"))

PUBLIC = {
    "flwr.app": set(flwr.app.__all__),
    "flwr.clientapp": set(flwr.clientapp.__all__),
    "flwr.serverapp": set(flwr.serverapp.__all__),
    "flwr.serverapp.strategy": set(flwr.serverapp.strategy.__all__),
    "flwr.common": {*flwr.common.__all__, "log"},
}
"""Flower's API for apps. `log` is re-exported there as the others are, and missing from `__all__`."""


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def flower_imports(tree) -> Iterator[tuple[str, str, str]]:
    """Yield module, name and local name of everything that is imported from Flower; "" for a whole module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((each.name, "", each.name) for each in node.names if is_flowers(each.name))
        elif isinstance(node, ast.ImportFrom) and is_flowers(node.module or ""):
            yield from ((node.module, each.name, each.asname or each.name) for each in node.names)


def is_flowers(module):
    return module.split(".")[0] == "flwr"


def ident(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", OUTSIDE, ids=ident)
def test_flower_is_imported_through_the_door_alone(path):
    """`api.py` and the version's folder import it after the check of the version; strings do not either."""
    tree = parse(path)
    assert list(flower_imports(tree)) == []
    strings = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and re.fullmatch(r"flwr(\.\w+)+", str(node.value))
    ]
    assert strings == []


@pytest.mark.parametrize("path", OUTSIDE, ids=ident)
def test_the_folder_of_a_version_is_entered_through_the_door_alone(path):
    if path != DOOR:
        found = [name for name in ROOMS.values() if f"flower.{name}" in path.read_text(encoding="utf-8")]
        assert found == []


@pytest.mark.parametrize("path", [API, *APPS], ids=ident)
def test_apps_and_the_api_use_public_names(path):
    private = [
        f"{home}.{name}" for home, name, _ in flower_imports(parse(path)) if name not in PUBLIC.get(home, ())
    ]
    assert private == []


def test_the_version_of_the_settings_is_deployed():
    assert FLOWER_VERSION == DEPLOYED
    assert DEPLOYED in ROOMS


# --- every private name has a fingerprint ---------------------------------------------------------


def room_modules():
    room = importlib.import_module(f"oneflower.flower.{supported_room()}")
    names = [found.name for found in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")]
    return [importlib.import_module(name) for name in names]


def declarations(module):
    """Return what a module declares; the modules of the warm executor share one declaration."""
    before, warm, _ = module.__name__.partition(".warm.")
    if warm:
        module = importlib.import_module(f"{before}.warm.start")
    values = [
        each for value in vars(module).values() for each in (value if isinstance(value, tuple) else [value])
    ]
    return [value for value in values if isinstance(value, PrivateUse | Workaround)]


if supported_version() == DEPLOYED:
    from oneflower.flower.v1_25.workarounds import WORKAROUNDS, Workaround
else:
    WORKAROUNDS, Workaround = (), PrivateUse  # the others have none

ROOM_MODULES = room_modules()
DECLARATIONS = {id(each): each for module in ROOM_MODULES for each in declarations(module)}.values()
by_module = pytest.mark.parametrize("module", ROOM_MODULES, ids=lambda each: each.__name__)


def declared(module):
    sources = [each.sources for each in declarations(module)]
    return {(home, name) for source in sources for home, names in source.items() for name in names}


def tree_of(module):
    return ast.parse(inspect.getsource(module))


def line_for(home, name):
    """Return the line to write into `sources`."""
    return f'"{home}": {{"{name}": "{fingerprint(home, name)}"}}'


def covers(names, home, name):
    """Whether a name, or a part of a class, is declared where it was imported from or where it is defined."""
    found = getattr(importlib.import_module(home), name)
    homes = {home, getattr(found, "__module__", home)}
    return any(where in homes and what.split(".")[0] == name for where, what in names)


@pytest.mark.parametrize("use", DECLARATIONS, ids=lambda each: each.name)
def test_every_fingerprint_is_of_the_released_flower(use):
    wrong = [
        line_for(home, name)
        for home, names in use.sources.items()
        for name, digits in names.items()
        if fingerprint(home, name) != digits
    ]
    assert wrong == []


def test_every_workaround_is_in_the_list():
    found = {each.name for each in DECLARATIONS if not isinstance(each, PrivateUse)}
    assert found == {known.name for known in WORKAROUNDS}


@by_module
def test_every_private_import_is_declared(module):
    names, tree, undeclared = declared(module), tree_of(module), []
    for home, name, local in flower_imports(tree):
        if name in PUBLIC.get(home, ()):
            continue
        found = getattr(importlib.import_module(home), name)
        if isinstance(found, ModuleType):
            used = {(found.__name__, each) for each in read_from(tree, local)}
            undeclared += [line_for(*each) for each in sorted(used) if not covers(names, *each)]
        elif not covers(names, home, name):
            undeclared.append(line_for(home, name))
    assert undeclared == []


def read_from(tree, name):
    """Return the attributes of a name that a module reads."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name
    }


@pytest.mark.parametrize("known", WORKAROUNDS, ids=lambda each: each.name)
def test_everything_that_a_workaround_replaces_is_declared(known):
    names = {(home, name) for home, each in known.sources.items() for name in each}
    undeclared = []

    def note(owner, name, _):
        place = place_of(owner, name)
        # `now` is replaced wherever it was imported; it is declared where it is defined.
        if place not in names and not (name == "now" and ("flwr.common.date", "now") in names):
            undeclared.append(line_for(*place))

    known.apply(note)
    assert undeclared == []


def place_of(owner, name):
    """Return the module and the qualified name where an attribute is defined."""
    if inspect.isclass(owner):
        home = next(cls for cls in owner.__mro__ if name in vars(cls))
        return home.__module__, f"{home.__qualname__}.{name}"
    if inspect.isfunction(owner):
        return owner.__module__, owner.__qualname__
    return owner.__name__, name


@by_module
def test_every_attribute_of_flowers_is_in_a_fingerprinted_text(module):
    """An attribute that is neither Python's nor ours must occur in the text of something that is declared."""
    tree = tree_of(module)
    text = "\n".join(f"{name}\n{text_of(home, name)}" for home, name in declared(module))
    unknown = {
        name
        for name in attributes(tree) - ours() - pythons(module) - publics() - OTHERS
        if not re.search(rf"\b{re.escape(name)}\b", text)
    }
    assert unknown == set()


def attributes(tree):
    """Return every attribute that a module names: with a dot, as a private keyword or a private string."""
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and private(node.arg)}
    return found | {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and private(node.value)
    }


def private(text):
    return isinstance(text, str) and re.fullmatch(r"_[a-z]\w*", text) is not None


@cache
def ours():
    """Return every name that oneflower defines in the version's folder and in the modules that it uses."""
    found = set()
    for path in [*IN_ROOM, *(PACKAGE / "flower").glob("*.py"), PACKAGE / "errors.py", PACKAGE / "codes.py"]:
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
                found.add(node.attr)
            elif isinstance(node, ast.AnnAssign | ast.Assign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {each.id for each in targets if isinstance(each, ast.Name)}
    return found


def is_self(node):
    return isinstance(node, ast.Name) and node.id == "self"


def pythons(module):
    """Return the attributes of types of Python's and of gRPC's, and of the modules that are not Flower's."""
    modules = [
        value
        for value in vars(module).values()
        if isinstance(value, ModuleType) and not is_flowers(value.__name__)
    ]
    kinds = [value for value in vars(builtins).values() if inspect.isclass(value)]
    return {name for kind in [*kinds, *KINDS, *modules] for name in dir(kind)} | set(sys.stdlib_module_names)


KINDS = [
    argparse.ArgumentParser,
    CodeType,
    datetime,
    grpc.RpcError,
    grpc.ServicerContext,
    grpc.StatusCode,
    logging.Logger,
    mmap,
    os.stat_result,
    selectors.DefaultSelector,
    selectors.SelectorKey,
    socket.socket,
    sqlite3.Cursor,
    subprocess.Popen,
    threading.Condition,
    threading.Event,
    type(threading.Lock()),
    threading.Thread,
    type(hashlib.sha256()),
    FieldDescriptor,
    Path,
    ProtoMessage,
    TopologicalSorter,
]
OTHERS = {
    *("get_rng_state", "get_state", "cuda", "is_initialized"),  # NumPy's and PyTorch's, in the warm executor
    "_is_in_bad_fork",  # PyTorch's, in the warm executor; where it is missing, the others still decide
    *("experimental_non_blocking", "experimental_thread_pool"),  # gRPC's, of what answers a call
    *("fields", "full_name"),  # of a protocol message's descriptor, in `private.py`
    *("field_number", "wire_type"),  # of a field that a protocol message does not know, in `bundles.py`
    "signed",  # of a threading.local() of ours, in `clock.py`
}


@cache
def publics():
    kinds = [getattr(importlib.import_module(home), name) for home, names in PUBLIC.items() for name in names]
    return {name for kind in kinds for name in dir(kind)}


@by_module
def test_every_table_of_the_database_has_a_fingerprint(module):
    names = declared(module)
    strings = [
        node.value
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    used = {table for text in strings for table in tables_in(text)}
    schemas = {
        match.group(1)
        for home, name in names
        if name.startswith("SQL_CREATE_")
        for match in re.finditer(r"CREATE TABLE IF NOT EXISTS (\w+)", text_of(home, name))
    }
    assert used - schemas == set()


def tables_in(text):
    """Return the tables of Flower's that a statement names."""
    if not re.search(r"\b(SELECT|UPDATE|DELETE|INSERT)\b", text):
        return set()
    own = set(re.findall(r"\bWITH (?:RECURSIVE )?(\w+)", text))
    return set(re.findall(r"\b(?:FROM|JOIN|UPDATE|INTO) (\w+)", text)) - own
