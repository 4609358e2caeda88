"""What mkdocs cannot do by itself: pages from the root, links out of docs/, diagrams and variables.

The pages are written for GitHub and stay plain Markdown. When the site is built,

- CHANGELOG.md, CONTRIBUTING.md and SECURITY.md of the repository's root become pages;
- a link to another file of the repository leads to a copy of it under `repository/`;
- the section `decisions/` of the navigation lists every record, in the order of the numbers;
- a Mermaid state diagram becomes a table: Mermaid's own script would come from the network;
- the first mention of a variable in a section leads to its row in variables.md.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).parents[2]
ROOT_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
ALIASES = {"README.md": "index.md"}  # a path of the repository -> the page that stands for it
VARIABLES = "variables.md"

LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)(?=#[^)\s]*\)|\))")
CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
DIAGRAM = re.compile(r"^```mermaid\nstateDiagram-v2\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ARROW = re.compile(r"^ *(\S+) --> (\w+)(?:: (.*))?$", re.MULTILINE)
LABEL = re.compile(r"^ *(\w+): (.*)$", re.MULTILINE)
TAG = re.compile(r"(<[^>]*>)")
NAME = re.compile(r"\b[A-Z]+_[A-Z_]*[A-Z]\b")
ANCHOR = re.compile(r'<a id="(\w+)">')
NEVER_LINKED = {"a", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "title"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the records of decisions in the navigation."""
    folder = Path(config.docs_dir) / "decisions"
    records = sorted(f"decisions/{path.name}" for path in folder.glob("[0-9]*.md"))
    for section in config.nav or []:
        if section.get("Decisions") == "decisions/":
            section["Decisions"] = ["decisions/README.md", *records]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository's root."""
    for name in ROOT_PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Draw diagrams as tables and lead links to where their file is on the site."""
    markdown = DIAGRAM.sub(lambda match: _table(match[1]), markdown)
    uri = page.file.src_uri
    here = posixpath.dirname(uri if uri in ROOT_PAGES else f"docs/{uri}")

    def lead(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(here, match[1]))
        return posixpath.relpath(_on_site(target, config, files), posixpath.dirname(uri) or ".")

    parts, end = [], 0
    for code in CODE.finditer(markdown):
        parts += [LINK.sub(lead, markdown[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, LINK.sub(lead, markdown[end:])])


def _on_site(target: str, config: MkDocsConfig, files: Files) -> str:
    """Return the site's path of a path of the repository; the file is copied where it is not a page."""
    if target in ROOT_PAGES:
        return target
    if target in ALIASES:
        return ALIASES[target]
    path = ROOT / target
    if path.is_dir():
        target = f"{target}/README.md"
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    if target.startswith("..") or not (ROOT / target).is_file():
        return f"../{target}"  # not a file of the repository: mkdocs names the page and the link
    copied = f"repository/{target}"
    if files.get_file_from_path(copied) is None:
        files.append(File.generated(config, copied, abs_src_path=str(ROOT / target)))
    return copied


def _table(diagram: str) -> str:
    """Write the arrows of a Mermaid state diagram as a Markdown table."""
    labels = dict(LABEL.findall(diagram))
    rows = [
        (labels.get(source, source), labels.get(to, to), when)
        for source, to, when in ARROW.findall(diagram)
        if source != "[*]"
    ]
    if not rows:
        raise PluginError(f"no arrow in the Mermaid state diagram: {diagram!r}")
    head = ["| state | next state | when |", "|---|---|---|"]
    return "\n".join([*head, *(f"| {state} | {following} | {when} |" for state, following, when in rows)])


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Link the first mention of each variable in each section to its row in variables.md."""
    rows = set(ANCHOR.findall((Path(config.docs_dir) / VARIABLES).read_text(encoding="utf-8")))
    file: Any = files.get_file_from_path(VARIABLES)
    url = get_relative_url(file.url, page.file.url)
    mentioned: set[str] = set()
    inside: list[str] = []  # the open tags in which nothing is linked

    def link(match: re.Match[str]) -> str:
        anchor = match[0].lower()
        if anchor not in rows or anchor in mentioned:
            return match[0]
        mentioned.add(anchor)
        return f'<a href="{url}#{anchor}">{match[0]}</a>'

    parts = TAG.split(html)
    for index, part in enumerate(parts):
        if not part.startswith("<"):
            parts[index] = part if inside else NAME.sub(link, part)
            continue
        name = part.strip("</>").split(maxsplit=1)[0]
        if name == "h2" and not part.startswith("</"):
            mentioned.clear()
        if name in NEVER_LINKED:
            inside = inside[:-1] if part.startswith("</") else [*inside, name]
    return "".join(parts)
