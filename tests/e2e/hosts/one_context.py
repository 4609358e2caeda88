#!/opt/oneflower/venv/bin/python
"""What one-context and one-apps do at a boot, as far as an appliance sees it.

The context is exported, the token is left in a file, and each stage runs in a shell of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

from oneflower.settings import read_context

CONTEXT = Path("/mnt/context")
STATUS = Path("/etc/one-appliance/status")
SCRIPT = """\
set -e
umask 0077
ONE_SERVICE_REPORT=/etc/one-appliance/config
. /etc/one-appliance/service.d/appliance.sh
trap service_cleanup EXIT
service_"$1"
"""


def main():
    environ = {**os.environ, **read_context(CONTEXT / "context.sh")}
    kept = Path("/run/one-context/one_env")
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(f'export TOKENTXT="{(CONTEXT / "token.txt").read_text().strip()}"\n')
    for stage in ("configure", "bootstrap"):
        STATUS.write_text(f"{stage}\n")
        done = subprocess.run(["bash", "-c", SCRIPT, "service", stage], env=environ, check=False)
        STATUS.write_text(f"{stage}_{'failure' if done.returncode else 'success'}\n")
        if done.returncode:
            sys.exit(done.returncode)


if __name__ == "__main__":
    main()
