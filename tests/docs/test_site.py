"""The site is built strictly, links every variable to its row, and never needs the network."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from oneflower.settings import TABLE

ROOT = Path(__file__).parents[2]
SOURCES = ("mkdocs.yml", "docs", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "examples")
BUILD_TIMEOUT_S = 120
# What a browser fetches by itself when it shows a page; a link that a reader follows is not among them.
FETCHED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]*)\"|<link\b[^>]*\bhref=\"([^\"]*)\"|url\(([^)]*)\)"
)


def build(root, site, *options):
    """Run `mkdocs build` where no proxy and no address of a package index is known."""
    environ = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(site), *options],
        cwd=root,
        env=environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture
def sources(tmp_path):
    """A copy of everything that the site is built from."""
    for name in SOURCES:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    return tmp_path


def test_a_reader_fetches_nothing_from_the_network(site):
    fetched = {
        (page.name, address)
        for page in site.rglob("*.html")
        for found in FETCHED.findall(page.read_text(encoding="utf-8"))
        for address in found
        if re.match(r"['\"]?(https?:)?//", address)
    }
    assert fetched == set()


def test_every_record_and_the_pages_of_the_root_are_in_the_navigation(site):
    home = (site / "index.html").read_text(encoding="utf-8")
    records = {path.with_suffix(".html").name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md")}
    assert set(re.findall(r'href="decisions/(\d[^"]*)"', home)) == records
    assert {"CHANGELOG.html", "CONTRIBUTING.html"} <= set(re.findall(r'href="([^"#]*)"', home))


def test_a_variable_leads_to_its_row(site):
    rows = (site / "variables.html").read_text(encoding="utf-8")
    assert [rows.count(f'id="{variable.name.lower()}"') for variable in TABLE] == [1] * len(TABLE)
    page = (site / "checkpoints.html").read_text(encoding="utf-8")
    assert '<a href="variables.html#fl_checkpoint_path">FL_CHECKPOINT_PATH</a>' in page


def test_a_state_diagram_is_shown_without_a_script(site):
    page = (site / "recovery.html").read_text(encoding="utf-8")
    assert "mermaid" not in page
    assert "<td>backing off</td>" in page


def test_a_dead_link_a_broken_anchor_and_a_page_outside_the_navigation_stop_the_build(sources, tmp_path):
    links = "[a](nowhere.md) [b](journal.md#nowhere) [c](../src/nowhere.py) [d](/absolute.md) [e](examples)"
    (sources / "docs" / "unlisted.md").write_text(f"# Unlisted\n\n{links}\n")
    built = build(sources, tmp_path / "built")
    assert built.returncode == 1
    warnings = [line for line in built.stderr.splitlines() if line.startswith("WARNING")]
    for part in ("unlisted.md", "nowhere.md", "#nowhere", "nowhere.py", "/absolute.md", "'examples'"):
        assert any(part in line for line in warnings), (part, warnings)


def test_a_link_out_of_docs_leads_to_a_copy_of_the_file(sources, tmp_path):
    page = sources / "docs" / "journal.md"
    links = (
        "[a](../examples/demo/context.sh) [b](../README.md) [c](../CHANGELOG.md) [d](decisions/) `[e](../x)`"
    )
    page.write_text(page.read_text() + f"\n{links} `[e](../x)`\n")
    built = build(sources, tmp_path / "built")
    assert built.returncode == 0, built.stderr
    shown = (tmp_path / "built" / "journal.html").read_text(encoding="utf-8")
    targets = ("repository/examples/demo/context.sh", "index.html", "CHANGELOG.html", "decisions/index.html")
    for letter, target in zip("abcd", targets, strict=True):
        assert f'<a href="{target}">{letter}</a>' in shown
    assert "<code>[e](../x)</code>" in shown
    copied = tmp_path / "built" / "repository" / "examples" / "demo" / "context.sh"
    assert copied.read_bytes() == (ROOT / "examples" / "demo" / "context.sh").read_bytes()
