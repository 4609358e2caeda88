"""Start one of Flower's programs in this process, with the workarounds for the installed Flower.

``python -m oneflower.flower.launch superlink|supernode ARGS...`` takes Flower's own flags, and from its
environment the variables that a SuperLink or a SuperNode reads (`oneflower.settings.Consumer`):
FL_FLOWER_WORKAROUNDS applies the workarounds, FL_FLOWER_SPEEDUPS those among them that only save time,
FL_MAX_UPDATE_MB sets a limit in one of them, and FL_WARM_EXECUTOR lets a SuperNode run its ClientApps in
forked children of one warm process. The programs that Flower starts itself are started through here, too.
A Flower that oneflower does not support is refused with exit code 4 before anything of it is imported.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from oneflower.errors import OneflowerError, SettingsError
from oneflower.files import PRIVATE_UMASK
from oneflower.flower.app_gpus import give_gpus
from oneflower.flower.app_packages import prepare_packages, use_packages
from oneflower.flower.database import DATABASE_VARIABLE, set_aside_damaged
from oneflower.flower.guard import GUARDED
from oneflower.flower.join_refusals import of_this_process
from oneflower.flower.members import Members
from oneflower.flower.memory import share_arenas, with_huge_pages
from oneflower.flower.programs import (
    FLOWER_NAMES,
    GRPC_FORKS,
    LAUNCHER,
    LOOPS,
    TOKEN_VARIABLE,
    WARM_EXECUTOR,
    value_of,
)
from oneflower.flower.resources import allow_connections, stay_on_one, use_all
from oneflower.flower.sockets import SOCKETS, folder_of, prepare, with_socket
from oneflower.flower.uncollected import uncollected
from oneflower.flower.version import require_deployed
from oneflower.flower.watch import keep_running, look_after_parent
from oneflower.node_keys import KEYS_VARIABLE, keys_of_pem
from oneflower.output import steady_output
from oneflower.proxies import direct_loopback, proxy_variable
from oneflower.settings import Consumer, Settings, resolve_for
from oneflower.settings.formats import is_loopback

log = logging.getLogger(LAUNCHER)  # as a program this module is called __main__

PROGRAMS = (*FLOWER_NAMES.values(), WARM_EXECUTOR)
# Flower's defaults listen on every interface without TLS: constant.py:43.
LOOPBACK_FLAGS = {
    "superlink": {
        "--control-api-address": "127.0.0.1:9093",
        "--serverappio-api-address": "127.0.0.1:9091",
        "--simulationio-api-address": "127.0.0.1:9096",
    },
    "supernode": {"--clientappio-api-address": "127.0.0.1:9094"},
}
OLD_NAMES = {"--control-api-address": "--exec-api-address"}  # Flower refuses both together
SERVING = frozenset({"superlink", "supernode"})
APP_PROGRAMS = frozenset({"serverapp", "clientapp", WARM_EXECUTOR})
GUARDED_PROGRAMS = frozenset({"superlink", "supernode", "superexec"})
NODE_AUTH = "--enable-supernode-auth"
CONSUMERS = Consumer.SUPERLINK | Consumer.SUPERNODE
USAGE = f"usage: python -m oneflower.flower.launch {'|'.join(PROGRAMS)} ARGS... (Flower's own flags)"


def main(argv: Sequence[str], prepare: Callable[[], object] = lambda: None) -> None:
    """Run one Flower program with its own arguments; exit with an error's code where it cannot start.

    `prepare` is called before it, with the environment set up and the version of Flower checked.
    """
    steady_output()
    try:
        program, arguments = _program(argv)
        require_deployed()
        prepare_environment(program)
        prepare()
        start(program, arguments, os.environ)
    except OneflowerError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


def start(program: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Apply the settings of the environment and call Flower's entry point, which does not return."""
    with uncollected():
        run = _prepared(program, list(arguments), environ)
    run()


def _prepared(program: str, arguments: list[str], environ: Mapping[str, str]) -> Callable[[], object]:
    """Import Flower, apply the settings of the environment, and return what runs the program."""
    # Imported here: Flower reads the environment when it is imported.
    from oneflower.flower.door import entry_points, warm_executor  # noqa: PLC0415
    from oneflower.flower.logs import log_through_flower  # noqa: PLC0415

    log_through_flower()
    settings = resolve_for(CONSUMERS, environ)
    give_gpus(program, arguments, settings, os.environ)
    _find_packages(program, environ)
    if program == WARM_EXECUTOR:
        if settings.flower_workarounds:
            arguments = _with_sockets(program, arguments, environ)
        return partial(warm_executor.run, arguments)
    if value_of("--plugin-type", arguments) == "serverapp":
        os.environ.update(with_huge_pages(os.environ))  # of the ServerApps that it starts
    _name_database(program, arguments)
    arguments = with_loopback(program, arguments)
    if settings.flower_workarounds:
        arguments = _with_sockets(program, arguments, environ)
    check_control(arguments, settings)
    entry_point = entry_points.ENTRY_POINTS[program]
    function = entry_point.load()
    if settings.flower_workarounds:
        if program == "superlink":
            allow_connections()
        _apply_workarounds(program, settings, known_keys=NODE_AUTH in arguments)
        _look_after(program, arguments, environ)
    if program == "superlink":
        _prepare_superlink(arguments, settings, environ)
    if program == "supernode":
        _name_proxy(value_of("--superlink", arguments) or "")
    # A SuperNode with --isolation process has an executor that somebody else runs.
    if program == "supernode" and settings.warm_executor and value_of("--isolation", arguments) != "process":
        warm_executor.keep_running(value_of("--clientappio-api-address", arguments) or "")
        arguments += ["--isolation", "process"]
    sys.argv = [entry_point.command, *arguments, *_token()]
    return partial(run_to_the_end, function) if settings.flower_workarounds else function


def _find_packages(program: str, environ: Mapping[str, str]) -> None:
    """Install the machine's wheels before anything starts, and let its apps import them.

    Wheels that cannot be installed do not keep a machine from training what needs none of them.
    """
    if program in SERVING:
        try:
            prepare_packages(environ)
        except OneflowerError as error:
            log.log(logging.ERROR, "wheels not installed reason=%s", error)
    if program in APP_PROGRAMS:
        use_packages(environ)


def run_to_the_end(function: Callable[[], object]) -> None:
    """Call Flower's entry point, and end the process at once where it raises.

    The traceback would keep Flower's channels until the interpreter ends, which may wait for them forever:
    a SuperNode whose heartbeat had failed stayed there and was never started again.
    """
    try:
        function()
    except OneflowerError:
        raise
    except Exception:  # noqa: BLE001 - it is reported as Python would
        traceback.print_exc()
        logging.shutdown()
        sys.stdout.flush()
        os._exit(1)


def prepare_environment(program: str) -> None:
    """Set what a Flower process needs before flwr is imported; its files are this user's alone."""
    os.umask(PRIVATE_UMASK)
    use_all(os.environ)
    share_arenas()
    name, value = GRPC_FORKS
    if program in LOOPS:
        os.environ.setdefault(name, value)
    elif os.environ.get(name) == value:
        del os.environ[name]  # an app may fork workers of its own, as PyTorch's data loaders do
    # A black-holed egress would delay each exit by up to 60 s: telemetry.py:276, exit.py:80.
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
        if value_of(flag, arguments) is None and value_of(OLD_NAMES.get(flag, ""), arguments) is None:
            added += [flag, address]
    return added


def check_control(arguments: Sequence[str], settings: Settings) -> None:
    """Refuse a Control API that other machines reach without TLS and a token.

    Raises
    ------
    SettingsError
        The address is not a loopback one, and something is missing.
    """
    address = value_of("--control-api-address", arguments) or value_of("--exec-api-address", arguments)
    if address is None or is_loopback(address.rpartition(":")[0].strip("[]")):
        return
    secure = "--insecure" not in arguments
    if not (secure and settings.control_token and settings.flower_workarounds):
        raise SettingsError(
            f"--control-api-address is {address!r}, where other machines can submit runs: expected TLS, "
            'FL_CONTROL_TOKEN (in a shell: export FL_CONTROL_TOKEN="$(openssl rand -hex 16)") and '
            "FL_FLOWER_WORKAROUNDS=YES with it; or stay on 127.0.0.1 and connect to the socket of the port: "
            f"`ssh -N -L HERE.sock:{folder_of(os.environ)}/{address.rpartition(':')[2]}.sock HOST`"
        )


def _with_sockets(program: str, arguments: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Name the folder of the sockets for all programs that follow, and call an API through its socket."""
    folder = folder_of(environ)
    os.environ[SOCKETS] = str(folder)
    if program in SERVING:
        prepare(folder)
    return with_socket(program, list(arguments), folder)


def _token() -> list[str]:
    """Return the token of an app as Flower expects it, and keep it from the programs that the app starts."""
    token = os.environ.pop(TOKEN_VARIABLE, "")
    return ["--token", token] if token else []


def _program(argv: Sequence[str]) -> tuple[str, list[str]]:
    if not argv or argv[0] not in PROGRAMS:
        given = repr(argv[0]) if argv else "nothing"
        raise SettingsError(f"which Flower program? Given: {given}.\n{USAGE}")
    return argv[0], list(argv[1:])


def _apply_workarounds(program: str, settings: Settings, *, known_keys: bool) -> None:
    from oneflower.flower.door import workarounds  # noqa: PLC0415 - after the environment is prepared

    needed = workarounds.configured(max_update_mb=settings.max_update_mb, known_keys=known_keys)
    names = workarounds.apply(needed, workarounds.Program(program), speedups=settings.flower_speedups)
    log.info("workarounds applied program=%s names=%s", program, ",".join(names))


def _prepare_superlink(arguments: Sequence[str], settings: Settings, environ: Mapping[str, str]) -> None:
    if settings.flower_workarounds and settings.flower_speedups:
        stay_on_one(os.environ)
    if NODE_AUTH in arguments:
        _admit_members(settings.node_keys, environ)


def _admit_members(node_keys: str, environ: Mapping[str, str]) -> None:
    """Let the SuperNodes join whose keys are in FL_NODE_KEYS or in the file of a service's keys."""
    from oneflower.flower.door import membership  # noqa: PLC0415 - after the environment is prepared

    file = environ.get(KEYS_VARIABLE, "")
    refusals = of_this_process()
    members = Members(keys_of_pem(node_keys), Path(file) if file else None, refuse=refusals.refuse)
    membership.admit_members(members, refusals)
    log.info("supernode keys known count=%d", len(members.current))


def _look_after(program: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Start a guard beside a program that has none, and set aside a database that a SuperLink cannot read."""
    if program == "superexec":
        look_after_parent(os.getppid())
    database = value_of("--database", arguments)
    if program == "superlink" and database:
        aside = set_aside_damaged(Path(database))
        if aside is not None:
            log.warning("%s is not a readable database: kept as %s, a new one is created", database, aside)
    if program in GUARDED_PROGRAMS and GUARDED not in environ:
        guard = [sys.executable, "-P", "-m", "oneflower.flower.guard", str(os.getpid())]
        keep_running(guard, name="guard")
        os.environ[GUARDED] = "YES"  # the programs that it starts are looked after, too


def _name_database(program: str, arguments: Sequence[str]) -> None:
    """Tell the ServerApps of a SuperLink where its database is."""
    database = value_of("--database", arguments)
    if program == "superlink" and database:
        os.environ[DATABASE_VARIABLE] = str(Path(database).absolute())


def _name_proxy(address: str) -> None:
    """Warn where a proxy stands between a SuperNode and its SuperLink: many let no gRPC through."""
    variable = proxy_variable(address.rpartition(":")[0], os.environ)
    if variable:
        log.warning(
            "%s sends the connection to the SuperLink %s through a proxy: add its host to no_proxy to "
            "connect directly",
            variable,
            address,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
