"""Python modules hold Python: a longer text in another language is a template file with its own extension."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "oneflower"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What only a script, a unit, a recipe or a document of that language holds.
MARKS = {
    "a script": re.compile(r"\A#!|^set -e", re.MULTILINE),
    "bash": re.compile(r"^\w+\(\) \{$|<<'?[A-Z]+'?$|\bfi$|^\s*esac$", re.MULTILINE),
    "Ruby": re.compile(r"^\s*(require(_relative)? ['\"]|describe ['\"]|def \w+[?!]?$)", re.MULTILINE),
    "HCL": re.compile(r"^\s*(provisioner|variable|source|post-processor) \"|^build \{$", re.MULTILINE),
    "a systemd unit": re.compile(r"^\[(Unit|Service|Install|Mount|Timer)\]$", re.MULTILINE),
    "INI or TOML": re.compile(r"^\[[\w.-]+\]\n\w+ ?=", re.MULTILINE),
    "YAML": re.compile(r"\A---\n.", re.DOTALL),
    "HTML": re.compile(r"<(html|body|table|script|style)\b"),
}
# The longest text of any kind, in lines.
MOST_LINES = 15
LONGER_TEXTS = {  # path below src/oneflower -> why it stays
    "settings/document.py": "the sentences around the generated tables of docs/variables.md",
}


def _texts(module: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every string that is no docstring; the values inside f-strings are left out."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value for part in node.values if isinstance(part, ast.Constant)]
            yield node.lineno, "x".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def _languages(text: str) -> list[str]:
    return [name for name, mark in MARKS.items() if "\n" in text.strip() and mark.search(text)]


def _id(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("module", MODULES, ids=_id)
def test_a_module_holds_no_text_of_another_language(module):
    found = {line: languages for line, text in _texts(module) if (languages := _languages(text))}
    assert not found, f"move the text into a template file (see opennebula/rendering.py): {found}"


@pytest.mark.parametrize("module", MODULES, ids=_id)
def test_a_module_holds_no_long_text(module):
    long = {line: text.count("\n") for line, text in _texts(module) if text.count("\n") > MOST_LINES}
    assert not long or _id(module) in LONGER_TEXTS, f"move the text into a file: line and length {long}"


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("a script", "#!/bin/sh\nls\n"),
        ("bash", "start() {\n    ls\n}\n"),
        ("bash", "cat <<'END'\nx\nEND\n"),
        ("Ruby", "require_relative '../app'\nputs 1\n"),
        ("HCL", 'build {\n  provisioner "shell" {}\n}\n'),
        ("a systemd unit", "[Unit]\nDescription=x\n"),
        ("INI or TOML", "[tool.x]\na = 1\n"),
        ("YAML", "---\na: 1\n"),
    ],
)
def test_each_language_is_known_by_its_marks(language, text):
    assert language in _languages(text)


@pytest.mark.parametrize(
    "text", ["one line #!/bin/sh", "Return to build {x}\nand go on\n", "a\nb = [Unit]\n"]
)
def test_prose_is_no_other_language(text):
    assert not _languages(text)
