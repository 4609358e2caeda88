"""Look for known vulnerabilities of the packages in lock files; `make audit` runs it with pip-audit's Python.

Exit code 0: every package was looked up and has none. 1: there are some. 2: some could not be looked up, so
nothing is known of them; pip-audit itself says "No known vulnerabilities found" then.
"""

import json
import subprocess
import sys
from pathlib import Path

NONE, FOUND, UNKNOWN = range(3)
MOST_NAMED = 5


def audit(lock):
    """Return what pip-audit prints about a lock, as JSON; None where it could not run, with the reason."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--format", "json"]
    done = subprocess.run(
        [*command, "--progress-spinner", "off", "-r", lock], capture_output=True, text=True, check=False
    )
    try:
        return json.loads(done.stdout), ""
    except ValueError:
        return None, (done.stderr.strip().splitlines() or ["no reason given"])[-1]


def judge(lock, document, trouble):
    """Return the exit code for what is known of a lock, and the lines that say it."""
    if document is None:
        return UNKNOWN, [
            f"{lock}: not audited, because pip-audit gave no answer; its last line is: {trouble}"
        ]
    packages = document["dependencies"]
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    lines, found = [], 0
    for each in packages:
        for known in each.get("vulns", ()):
            found += 1
            mended = ", ".join(known.get("fix_versions") or ()) or "no version yet"
            lines.append(f"{lock}: {each['name']} {each['version']}: {known['id']}, mended in {mended}")
    if skipped:
        more = "" if len(skipped) <= MOST_NAMED else f" and {len(skipped) - MOST_NAMED} more"
        why = next(each["skip_reason"] for each in packages if "skip_reason" in each)
        lines.append(
            f"{lock}: {len(skipped)} of {len(packages)} packages could not be looked up, so nothing is known "
            f"of them: {', '.join(skipped[:MOST_NAMED])}{more}. The reason that pip-audit gives: {why}"
        )
    if found:
        return FOUND, lines
    if skipped:
        return UNKNOWN, lines
    return NONE, [f"{lock}: {len(packages)} packages, no known vulnerability"]


def main(locks):
    """Audit each lock and say what is known; return the exit code."""
    codes = set()
    for lock in locks:
        code, lines = judge(Path(lock).name, *audit(lock))
        codes.add(code)
        sys.stdout.writelines(f"{line}\n" for line in lines)
    return FOUND if FOUND in codes else max(codes, default=UNKNOWN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
