"""The fenced blocks and the commands of README.md, CONTRIBUTING.md and docs/."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL = {"sh", "console"}
# Languages of blocks that hold no command.
OTHER = {"diff", "ini", "json", "mermaid", "python", "text", "toml", "yaml"}
# Why a block of commands is not run by the tests: the title of the block is one of these.
REASONS = {
    "Needs the network",
    "On a VM of the service",
    "On a host of OpenNebula",
    "On the machine that builds the images",
    "On the OpenNebula front end",
    "Run by CI",
    "Takes minutes",
    "With a running service",
}
FENCE = re.compile(r'^( *)```(\w*)(?: title="([^"]+)")?\n(.*?)^\1```$', re.DOTALL | re.MULTILINE)
EXIT_CODE = re.compile(r"Exit code (\d+)")
SEPARATORS = set(";&|()<>\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block: `title` is the file that it shows, why it is not run, or its exit code."""

    page: Path
    line: int
    language: str
    title: str
    text: str

    @property
    def is_run(self):
        return self.language in SHELL and self.title not in REASONS

    @property
    def exit_code(self):
        found = EXIT_CODE.fullmatch(self.title)
        return int(found[1]) if found else 0

    def runs(self):
        """Yield each script of the block and the output that is shown below it."""
        if self.language == "sh":
            yield self.text, []
            return
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            yield command, shown

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page):
    """Return every fenced block of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            line=text.count("\n", 0, found.start()) + 1,
            language=found[2],
            title=found[3] or "",
            text=found[4],
        )
        for found in FENCE.finditer(text)
    ]


def prose(page):
    """Return a page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def words(script):
    """Split a script into simple commands, each a list of words; comments and redirections are dropped."""
    script = re.sub(r"\\\n", " ", script)
    found = [[]]
    for line in script.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        found.append([])
        for word in lexer:
            if set(word) <= SEPARATORS:
                found.append([])
            else:
                found[-1].append(word)
    return [command for command in found if command]
