"""`docker` for hosts without images: the program runs from the machine's own root, limited as in a container.

As in a container are the user, no capabilities, no new privileges, the environment, the mounts, a read-only
root, the working folder, and what the Containerfile says is run. The processes and the files of /usr are the
machine's own, and /opt/flower is out of sight but for what is mounted. What it does not know it refuses.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

CONTAINERFILE = Path("/opt/oneflower/image/Containerfile")
HIDDEN = "/opt/flower"
PATH = "/opt/oneflower/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Seconds that a container takes to start, where a test has written some.
SLOW = Path("/opt/slow-to-start")
RUNNING = Path("/run/docker-stand-in")
# Where Python and oneflower are in this host, one folder a line.
PYTHON = Path("/opt/oneflower/python-folders")
IMAGE = re.compile(r"oneflower-(superlink|supernode):[0-9.]+")
# Each is granted, or is of no meaning without images.
UNDERSTOOD = {
    "--rm",
    "--init",
    "--pull=never",
    "--network=host",
    "--pid=host",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--read-only",
    "--shm-size=1g",
    "--log-driver=none",
}
LIMITS = {"--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only"}


def main(words):
    match words:
        case ["run", *rest]:
            run(*parse(rest))
        case ["stop", "--time", seconds, name]:
            end(name, signal.SIGTERM, int(seconds))
        case ["rm", "--force", name]:
            end(name, signal.SIGKILL, 5)
        case ["--version"]:  # like podman's, its containers are children of their units
            sys.stdout.write("podman stand-in\n")
        case ["info", "--format", _]:
            sys.stdout.write('{"version": "stand-in", "options": []}\n')
        case ["image", "inspect", "--format", _, image] if IMAGE.fullmatch(image):
            sys.stdout.write("sha256:stand-in\n")
        case ["inside", told]:
            inside(json.loads(told))
        case _:
            sys.exit(f"docker stand-in: {words[:1]} is not understood")


def parse(words):
    """Return options (a list of values by name), the image, and the arguments behind it."""
    options = {}
    for number, word in enumerate(words):
        if not word.startswith("-"):
            if missing := LIMITS.difference(words[:number]):
                sys.exit(f"docker stand-in: {missing} is missing")
            return options, word, words[number + 1 :]
        name, _, value = word.partition("=")
        known = ("--name", "--user", "--env-file", "--volume", "--tmpfs", "--entrypoint", "--oom-score-adj")
        if word not in UNDERSTOOD and name not in known:
            sys.exit(f"docker stand-in: the option {word} is not understood")
        options.setdefault(name, []).append(value)
    sys.exit("docker stand-in: there is no image")


def run(options, image, arguments):
    """Become the program, in a mount namespace of its own: the unit's main process stays the same."""
    if not IMAGE.fullmatch(image):
        sys.exit(f"docker stand-in: there is no image {image}")
    file = CONTAINERFILE.read_text()
    entrypoint = options.get("--entrypoint") or json.loads(
        re.findall(r"^ENTRYPOINT (.*)$", file, re.MULTILINE)[0]
    )
    variables = re.findall(r"^(?:ENV| {4}) ?([A-Z_]+)=(\S+)(?: \\)?$", file, re.MULTILINE)
    lines = Path(options["--env-file"][0]).read_text().splitlines()
    told = {
        "command": [*entrypoint, *arguments],
        "environment": {"PATH": PATH, **dict(variables), **dict(line.split("=", 1) for line in lines)},
        "folder": re.findall(r"^WORKDIR (.*)$", file, re.MULTILINE)[0],
        "mounts": [volume.rsplit(":", 2) for volume in options.get("--volume", [])],
        "tmpfs": [tmpfs.split(":") for tmpfs in options.get("--tmpfs", [])],
        "user": options["--user"][0].split(":"),
    }
    for score in options.get("--oom-score-adj", []):
        Path("/proc/self/oom_score_adj").write_text(score)
    if SLOW.exists():
        time.sleep(float(SLOW.read_text()))
    RUNNING.mkdir(exist_ok=True)
    (RUNNING / options["--name"][0]).write_text(f"{os.getpid()} {started(os.getpid())}")
    itself = [sys.executable, "-I", __file__, "inside", json.dumps(told)]
    os.execv("/usr/bin/unshare", ["unshare", "--mount", "--propagation=private", "--", *itself])


def inside(told):
    """Mount what the program sees, give up every right, and become it."""
    for source, target, mode in told["mounts"]:
        Path(target).mkdir(parents=True, exist_ok=True)
        mount("--bind", source, target)
        mount("-o", f"remount,bind,{mode}", target)
    for target, options in told["tmpfs"]:
        with in_sight(target):
            mount("-t", "tmpfs", "-o", options, "tmpfs", target)
    mount("-t", "tmpfs", "-o", "ro,mode=0000", "tmpfs", HIDDEN)
    mount("-o", "remount,bind,ro", "/")
    os.chdir(told["folder"])
    uid, gid = told["user"]
    rights = [f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs"]
    rights += ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
    program, *words = told["command"]
    found = shutil.which(program, path=told["environment"]["PATH"]) or program
    os.execve("/usr/bin/setpriv", ["setpriv", *rights, "--", found, *words], told["environment"])


@contextmanager
def in_sight(target):
    """Keep Python where it is, should it lie below what is about to be mounted over."""
    folders = [Path(line) for line in PYTHON.read_text().splitlines() if Path(line).is_relative_to(target)]
    aside = [RUNNING / f"python-{os.getpid()}-{number}" for number in range(len(folders))]
    for folder, kept in zip(folders, aside, strict=True):
        kept.mkdir()
        mount("--bind", folder, kept)
    yield
    for folder, kept in zip(folders, aside, strict=True):
        folder.mkdir(parents=True)
        mount("--move", kept, folder)


def mount(*words):
    subprocess.run(["/usr/bin/mount", *words], check=True)


def end(name, number, seconds):
    """End a container's program, where it runs; afterwards its unit ends what it has started."""
    file = RUNNING / name
    if not file.exists():
        sys.exit(f"docker stand-in: there is no container {name}")
    pid, since = map(int, file.read_text().split())
    deadline = time.monotonic() + seconds
    while started(pid) == since:
        with suppress(ProcessLookupError):
            os.kill(pid, number if time.monotonic() < deadline else signal.SIGKILL)
        time.sleep(0.1)
    file.unlink(missing_ok=True)


def started(pid):
    """Return when a process began, which no later one with its id shares; -1 for one that is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return -1 if fields[0] in "ZX" else int(fields[19])
    return -1


if __name__ == "__main__":
    main(sys.argv[1:])
