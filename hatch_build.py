"""Compile the aggregation kernel when oneflower is built: into the wheel, or in place (editable install).

Without a C compiler, or where compiling fails, the wheel is pure and NumPy does the work.
ONEFLOWER_KERNEL=NO builds a pure wheel in any case. `python hatch_build.py` compiles in place.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ModuleNotFoundError:  # run as a program, or by the tests: the build has it
    BuildHookInterface = object

ROOT = Path(__file__).parent
FOLDER = ROOT / "src" / "oneflower" / "aggregation"
SOURCES = (FOLDER / "kernel.c", FOLDER / "kernel_products.h")
LIBRARY = FOLDER / "libkernel.so"
IN_WHEEL = "oneflower/aggregation/libkernel.so"
LIMIT_S = 300
# The bytes must be NumPy's: no product and sum in one rounding, nothing that -ffast-math allows.
NUMPYS_BYTES = ("-ffp-contract=off", "-fno-fast-math", "-fno-math-errno", "-fno-trapping-math")
HARDENED = ("-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-Wl,-z,relro,-z,now,-z,noexecstack")
FAST = ("-O3", "-funroll-loops")
FLAGS = (*FAST, "-std=gnu11", "-fPIC", "-shared", "-fvisibility=hidden", *NUMPYS_BYTES, *HARDENED)


class CustomBuildHook(BuildHookInterface):
    """What hatchling calls before it builds a wheel; a version "editable" is an install in place."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and put the library and the machine's tag into the wheel."""
        if version == "editable":
            _report(compile_kernel(LIBRARY))
            return
        self._folder = tempfile.mkdtemp()
        library = Path(self._folder, "libkernel.so")
        reason = compile_kernel(library)
        _report(reason)
        if reason is None:
            build_data["force_include"][str(library)] = IN_WHEEL
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was compiled for the wheel."""
        shutil.rmtree(getattr(self, "_folder", ""), ignore_errors=True)


def compile_kernel(library: Path, environ: dict[str, str] | None = None) -> str | None:
    """Compile the kernel into this file, which is replaced at once; return why there is none, or None."""
    environ = dict(os.environ) if environ is None else environ
    if environ.get("ONEFLOWER_KERNEL") == "NO":
        return _without(library, "ONEFLOWER_KERNEL is NO")
    compiler = shlex.split(environ.get("CC", "cc"))
    if not compiler or shutil.which(compiler[0], path=environ.get("PATH", "")) is None:
        return _without(library, f"there is no C compiler {' '.join(compiler)!r}")
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES)).hexdigest()
    new = library.with_name(f".{library.name}.{os.getpid()}")
    command = [*compiler, *FLAGS, f'-DSOURCE="{digest}"', str(SOURCES[0]), "-o", str(new), "-lm"]
    try:
        done = subprocess.run(
            command,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
            errors="replace",
        )
        if done.returncode or not new.exists():
            return _without(library, f"{command[0]} failed: {done.stderr.strip()[-500:] or done.returncode}")
        new.replace(library)
    except (OSError, subprocess.TimeoutExpired) as error:
        return _without(library, str(error))
    finally:
        new.unlink(missing_ok=True)
    return None


def _without(library: Path, reason: str) -> str:
    """Leave no kernel of an earlier build behind."""
    library.unlink(missing_ok=True)
    return reason


def _report(reason: str | None) -> None:
    sys.stderr.write(
        "oneflower: the aggregation kernel is compiled\n"
        if reason is None
        else f"oneflower: no compiled aggregation kernel, NumPy does its work: {reason}\n"
    )


if __name__ == "__main__":
    _report(compile_kernel(LIBRARY))
