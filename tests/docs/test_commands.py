"""Each command of README.md, CONTRIBUTING.md and docs/ is run here, or its block says why it is not.

- A block of commands is fenced as `sh`, or as `console` where it shows output below a `$ `. It is run.
- Its title may be one of `REASONS`: `title="On the OpenNebula front end"`. It is not run, but each
  `oneflower` command in it must exist with the options that it is given.
- The title `Exit code 5` says that the block ends with that code.

The blocks of a page are run in their order, in a copy of the repository after `make demo`.
"""

import itertools
import os
import re
import shutil
import signal
import subprocess
import tomllib
from contextlib import suppress
from pathlib import Path

import click
import pytest
import torch
import typer.main

from oneflower.cli.main import app
from oneflower.settings import resolve

from .blocks import OTHER, PAGES, REASONS, ROOT, SHELL, blocks, prose, words

COMMAND = re.compile(
    r"^ *(\$ |(sudo )?(oneflower|make|pip|pytest|python3?|docker|curl|one(image|template|vm)) )", re.MULTILINE
)
ASSIGNMENT = re.compile(r"[A-Z_]+=")
CODE = re.compile(r"`([^`]+)`", re.DOTALL)
# PyTorch's libraries choose their code by the processor: docs/recovery.md, what the same bytes depend on.
# Elsewhere the demo is compared with a simulation alone. oneDNN has other code for AVX512 with VNNI.
DEMO_SHA256 = {
    "AVX512": {
        "6507d6b6543f300e5fbb3f8dfb7319862653517fb9dcc211ebd6558f8071b46c",
        "ac82f37c5c1bff717071c9e8c3ef7e49bd909d27625dccfff03b45967ed124c8",
    },
    "AVX2 AuthenticAMD": {"740570b691a12269909599bd36a036fa06cda7ba9787f0c94539afe7e496fb2f"},
}
BLOCK_TIMEOUT_S = 600
NEEDED = ("Makefile", "pyproject.toml", "hatch_build.py", "apps", "examples")
# Settings that make the trainings of a page short. The environment wins over context files.
SHORT = {
    "bring-your-own-app.md": {"FL_NUM_ROUNDS": "1"},
    "simulation.md": {"FL_NUM_ROUNDS": "1"},
}


def ids(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_a_block_of_commands_is_run_or_says_why_not(page):
    for block in blocks(page):
        assert block.language in SHELL | OTHER, (
            f"{block}: name the language of the block, text for plain text"
        )
        if block.language in SHELL:
            known = not block.title or block.title in REASONS or block.exit_code
            assert known, f"{block}: {block.title!r} is not among {sorted(REASONS)}, nor an exit code"
        else:
            assert not COMMAND.search(block.text), f"{block}: commands belong into a block of sh or console"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_no_command_hides_in_an_indented_or_unfinished_block(page):
    rest = prose(page)
    assert "```" not in rest
    assert not re.search(r"(?:\A|\n\n)(?:    |\t)", rest), "indented blocks name no language: fence them"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_a_command_that_is_mentioned_exists(page):
    """Commands of blocks for other machines and of the text exist, with the options that they are given."""
    scripts = [block.text for block in blocks(page) if block.language == "sh" and not block.is_run]
    scripts += CODE.findall(prose(page))
    for script in scripts:
        if "oneflower " not in script and not script.startswith(("make ", "python ", "pytest ", "pip ")):
            continue
        for command in words(re.sub(r"(?<= )\[|\](?= |$)", "", script)):
            name, *arguments = [*itertools.dropwhile(ASSIGNMENT.match, command)] or [""]
            if name in MENTIONED:
                MENTIONED[name](arguments)


def of_the_command_line(arguments):
    """Follow the groups to the command, and let it read its options."""
    command, path = typer.main.get_command(app), "oneflower"
    context = click.Context(command, info_name=path)
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        path += f" {arguments[0]}"
        command = command.get_command(context, arguments[0])
        assert command, f"{path} is no command"
        arguments = arguments[1:]
    if not isinstance(command, click.Group):
        command.make_parser(click.Context(command, info_name=path)).parse_args(arguments)


def of_make(arguments):
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    images = {"debian12", "oneflower-superlink", "oneflower-supernode"}  # of one-apps and its relatives
    images |= {f"service_{name}" for name in images}
    assert {name for name in arguments if not re.search("^-|=", name)} <= set(targets) | images


def of_python(arguments):
    if arguments[0] != "-m":
        assert (ROOT / arguments[0]).is_file(), arguments


def of_pytest(arguments):
    for path in (each for each in arguments if "/" in each):
        assert (ROOT / path).exists(), arguments


def of_pip(arguments):
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extras in re.findall(r"oneflower\[([^\]]+)\]", " ".join(arguments)):
        assert set(extras.split(",")) <= set(known["optional-dependencies"])


MENTIONED = {
    "oneflower": of_the_command_line,
    "make": of_make,
    "python": of_python,
    "pytest": of_pytest,
    "pip": of_pip,
}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_settings_that_are_shown_are_accepted(page):
    for block in (block for block in blocks(page) if block.language == "ini"):
        given = dict(
            line.split("#")[0].strip().split("=", 1) for line in block.text.splitlines() if line[0] != " "
        )
        resolve(given)


def run(script, folder, environ):
    """Run a script with bash; return its exit code and its output. Nothing that it starts outlives it."""
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=BLOCK_TIMEOUT_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    return process.returncode, output


def environment(folder, **more):
    """Return an environment as that of a new shell: no FL_* variable, no settings of the user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FL_", "ONEFLOWER"))}
    path = f"{folder / '.venv' / 'bin'}:{kept['PATH']}"
    return kept | {"PATH": path, "HOME": str(folder), "COLUMNS": "200"} | more


@pytest.fixture(scope="session")
def after_demo(tmp_path_factory):
    """What a visitor has after `make demo`: the repository, its environment and the training in .demo."""
    folder = tmp_path_factory.mktemp("repository")
    for name in NEEDED:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, folder / name)
    shutil.copytree(ROOT / "tests" / "data" / "stock-app", folder / "tests" / "data" / "stock-app")
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(ROOT / ".venv" / "bin")
    for mark in (".for-training", ".with-kernel", ".for-development"):
        (folder / ".venv" / mark).touch()
    code, output = run("make demo", folder, environment(folder))
    assert code == 0, output
    digest = re.search(r"^SHA-256 +([0-9a-f]{64})$", output, re.MULTILINE)[1]
    assert digest in DEMO_SHA256.get(processor(), {digest})
    simulate = "oneflower simulate --context examples/demo/context.sh --clients 3 --state simulated"
    code, output = run(f"{simulate} && rm -r simulated", folder, environment(folder))
    assert code == 0, output
    assert digest in output
    return folder


def processor():
    """Return which vector instructions PyTorch uses here, and whose they are where that matters."""
    capability = torch.backends.cpu.get_cpu_capability()
    vendor = re.search(r"^vendor_id\s*: (\w+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return capability if capability == "AVX512" or vendor is None else f"{capability} {vendor[1]}"


@pytest.fixture
def repository(after_demo, tmp_path):
    """A copy of it for one page."""
    return Path(shutil.copytree(after_demo, tmp_path / "repository", symlinks=True))


def prepare(page, folder):
    """Write what the page takes for granted."""
    if page.name == "bring-your-own-app.md":
        shutil.copytree(ROOT / "tests" / "data" / "stock-app", folder / "quickstart")
        for block in blocks(page):
            if block.language in {"python", "toml"} and block.title:
                path = folder / "blobs-app" / block.title
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
        (folder / "blobs-app" / "blobs" / "__init__.py").touch()


@pytest.mark.e2e
@pytest.mark.timeout(1800)
@pytest.mark.xdist_group("docs")  # they share `after_demo`
@pytest.mark.parametrize("page", [page for page in PAGES if any(b.is_run for b in blocks(page))], ids=ids)
def test_the_commands_of_a_page_work(page, repository):
    prepare(page, repository)
    environ = environment(repository, **SHORT.get(page.name, {}))
    for block in (block for block in blocks(page) if block.is_run):
        for script, shown in block.runs():
            code, output = run(script, repository, environ)
            assert code == block.exit_code, f"{block}: exit code {code}\n{output}"
            rest = iter(output.splitlines())
            for line in shown:
                form = re.compile(re.escape(line).replace(r"\.\.\.", ".*"))
                assert any(form.fullmatch(said) for said in rest), f"{block}: {line!r} is not in\n{output}"
