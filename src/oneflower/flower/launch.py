"""Start Flower's own entry points in this process, with the workarounds that Flower 1.25.0 needs.

``python -m oneflower.flower.launch superlink|supernode ARGS...`` takes Flower's own flags, and from its
environment the variables that a SuperLink or a SuperNode reads (`oneflower.settings.Consumer`):
FL_FLOWER_WORKAROUNDS applies the workarounds, FL_WARM_EXECUTOR lets a SuperNode run its ClientApps in forked
children of one warm process. The programs that Flower starts come through here, too.
"""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from logging import INFO, WARNING
from pathlib import Path

from oneflower.errors import OneflowerError, SettingsError
from oneflower.flower.database import set_aside_damaged
from oneflower.flower.guard import GUARDED
from oneflower.flower.programs import GRPC_FORKS, LOOPS, value_of
from oneflower.output import steady_output
from oneflower.proxies import direct_loopback, proxy_variable
from oneflower.settings import Consumer, resolve_for

ENTRY_POINTS = {
    "superlink": ("flwr.server.app", "run_superlink", "flower-superlink"),
    "supernode": ("flwr.supernode.cli", "flower_supernode", "flower-supernode"),
    "superexec": ("flwr.supercore.cli", "flower_superexec", "flower-superexec"),
    "serverapp": ("flwr.server.serverapp", "flwr_serverapp", "flwr-serverapp"),
    "clientapp": ("flwr.supernode.cli", "flwr_clientapp", "flwr-clientapp"),
}
# Flower's defaults listen on every interface without TLS: constant.py:43.
LOOPBACK_FLAGS = {
    "superlink": {
        "--serverappio-api-address": "127.0.0.1:9091",
        "--simulationio-api-address": "127.0.0.1:9096",
    },
    "supernode": {"--clientappio-api-address": "127.0.0.1:9094"},
}
GUARDED_PROGRAMS = frozenset({"superlink", "supernode", "superexec"})
CONSUMERS = Consumer.SUPERLINK | Consumer.SUPERNODE
USAGE = "usage: python -m oneflower.flower.launch superlink|supernode ARGS... (Flower's own flags)"


def main(argv: Sequence[str]) -> None:
    """Run one Flower program with its own arguments; exit with an error's code where it cannot start."""
    steady_output()
    try:
        program, arguments = _program(argv)
        prepare_environment(program)
        start(program, arguments, os.environ)
    except OneflowerError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


def start(program: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Apply the settings of the environment and call Flower's entry point, which does not return."""
    settings = resolve_for(CONSUMERS, environ)
    arguments = with_loopback(program, arguments)
    module, function, command = ENTRY_POINTS[program]
    entry_point = getattr(importlib.import_module(module), function)
    if settings.flower_workarounds:
        _apply_workarounds(program)
        _look_after(program, arguments, environ)
    if program == "supernode":
        _name_proxy(value_of("--superlink", arguments) or "")
    if program == "supernode" and settings.warm_executor:
        arguments = _with_warm_executor(arguments)
    sys.argv = [command, *arguments]
    entry_point()


def prepare_environment(program: str) -> None:
    """Set what a Flower process needs before flwr is imported."""
    name, value = GRPC_FORKS
    if program in LOOPS:
        os.environ.setdefault(name, value)
    elif os.environ.get(name) == value:
        del os.environ[name]  # an app may fork workers of its own, as PyTorch's data loaders are
    # A black-holed egress would hold each exit for up to 60 s: telemetry.py:276, exit.py:80.
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ.update(direct_loopback(os.environ))
    # Flower starts its programs by name; the environment may not be activated.
    scripts = str(Path(sys.executable).parent)
    if scripts not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join(filter(None, [scripts, os.environ.get("PATH", "")]))


def with_loopback(program: str, arguments: Sequence[str]) -> list[str]:
    """Add the addresses of the APIs that only this machine's processes use, where they are not given."""
    added = list(arguments)
    for flag, address in LOOPBACK_FLAGS.get(program, {}).items():
        if value_of(flag, arguments) is None:
            added += [flag, address]
    return added


def _program(argv: Sequence[str]) -> tuple[str, list[str]]:
    if not argv or argv[0] not in ENTRY_POINTS:
        given = repr(argv[0]) if argv else "nothing"
        raise SettingsError(f"which Flower program? Given: {given}.\n{USAGE}")
    return argv[0], list(argv[1:])


def _apply_workarounds(program: str) -> None:
    from flwr.common import log  # noqa: PLC0415 - after the environment is prepared

    from oneflower.flower.v1_25.workarounds import WORKAROUNDS, Program, apply  # noqa: PLC0415 - the same

    names = apply(WORKAROUNDS, Program(program))
    log(INFO, "workarounds applied program=%s names=%s", program, ",".join(names))


def _look_after(program: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Start a guard beside a program that nobody looks after, and give a SuperLink a database it can read."""
    from flwr.common import log  # noqa: PLC0415 - after the environment is prepared

    from oneflower.flower.watch import keep_running, look_after_parent  # noqa: PLC0415 - the same

    if program == "superexec":
        look_after_parent(os.getppid())
    database = value_of("--database", arguments)
    if program == "superlink" and database:
        aside = set_aside_damaged(Path(database))
        if aside is not None:
            log(WARNING, "%s is no database any more: kept as %s, and a new one is made", database, aside)
    if program in GUARDED_PROGRAMS and GUARDED not in environ:
        guard = [sys.executable, "-P", "-m", "oneflower.flower.guard", str(os.getpid())]
        keep_running(guard, name="guard")
        os.environ[GUARDED] = "YES"  # what it starts is looked after, too


def _name_proxy(address: str) -> None:
    """Say so where a proxy stands between a SuperNode and its SuperLink: it may let no gRPC through."""
    from flwr.common import log  # noqa: PLC0415 - after the environment is prepared

    variable = proxy_variable(address.rpartition(":")[0], os.environ)
    if variable:
        log(
            WARNING,
            "%s sends the connection to the SuperLink %s through a proxy: add its host to no_proxy to go "
            "there directly",
            variable,
            address,
        )


def _with_warm_executor(arguments: Sequence[str]) -> list[str]:
    """Start the executor and return the arguments of a SuperNode that leaves the running to it.

    Who asks for ``--isolation process`` runs an executor of their own.
    """
    if value_of("--isolation", arguments) == "process":
        return list(arguments)
    from oneflower.flower.v1_25.warm.start import keep_executor_running  # noqa: PLC0415 - imports flwr

    keep_executor_running(value_of("--clientappio-api-address", arguments) or "")
    return [*arguments, "--isolation", "process"]


if __name__ == "__main__":
    main(sys.argv[1:])
