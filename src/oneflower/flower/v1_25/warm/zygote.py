"""A process with one thread that has imported one app, and forks a child for each message.

``python -m oneflower.flower.v1_25.warm.zygote LINK PARENT_PID``: LINK is the number of
an inherited socket. It is told there

- ``{"load": {fab_id, fab_version, fab_hash, flwr_dir}}`` with the FAB: answers ``{"loaded": ...}``,
- ``{"run": message_id}`` with the inputs and the outputs: answers ``{"started": pid}``; the child says
  ``{"done": pid}`` when the outputs are complete, the zygote ``{"ended": pid, "status": ...}`` at its end,
- ``{"kill": pid}``: kills that child, if it is still one,
- ``{"settle": true}``: answers ``{"settled": reason}``; a reason other than "" asks to be replaced by one
  that loads with ``"learns": false``.
"""

import atexit
import gc
import os
import selectors
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from flwr.clientapp.client_app import ClientApp

from oneflower.flower.app_packages import use_packages
from oneflower.flower.uncollected import uncollected
from oneflower.flower.v1_25.warm import exchange
from oneflower.flower.v1_25.warm.app import error_of, load_app, run_app
from oneflower.flower.v1_25.warm.cuda import ASKED, UNKNOWN, is_poisoned, uses_cuda
from oneflower.flower.v1_25.warm.exchange import Parcel, ParcelWriter
from oneflower.flower.v1_25.warm.fresh_child import (
    LateImports,
    RandomStates,
    Seeding,
    enter_child,
    import_all,
)
from oneflower.flower.v1_25.workarounds.quick_arrays import make_quickly
from oneflower.flower.watch import die_with_parent
from oneflower.output import steady_output

CHILD_OOM_SCORE = "500"
"""When memory runs out the kernel takes the child, not the SuperNode: -1000 to 1000, 0 is usual."""
_FAILED = 2


class Zygote:
    """The process that is forked; see the module."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ, data=None)
        self._children: dict[int, tuple[int, LateImports]] = {}
        self._learns = True
        self._spoiled = ""
        self._app: ClientApp | None = None
        self._seeding = Seeding(python=None, own_numpy=False)

    def serve(self) -> None:
        """Do what is asked for until the executor is gone."""
        with suppress(EOFError):
            while True:
                for key, _ in self._selector.select():
                    if key.data is None:
                        self._obey()
                    else:
                        self._bury(key.fd, key.data)

    def _obey(self) -> None:
        order, descriptors = exchange.receive(self._channel)
        if "load" in order:
            self._load(order["load"], descriptors[0])
        elif "run" in order:
            self._fork(order["run"], *descriptors)
        elif "settle" in order:
            exchange.send(self._channel, {"settled": self._spoiled})
        elif order.get("kill") in self._children:
            os.kill(order["kill"], signal.SIGKILL)

    def _load(self, app: dict[str, Any], descriptor: int) -> None:
        with Parcel(descriptor) as parcel:
            fab = parcel["fab"]
        os.close(descriptor)
        self._learns = app["learns"]
        before = RandomStates.now()
        try:
            with uncollected():
                self._app = load_app(
                    fab,
                    fab_id=app["fab_id"],
                    fab_version=app["fab_version"],
                    fab_hash=app["fab_hash"],
                    flwr_dir=Path(app["flwr_dir"]),
                )
        except (Exception, SystemExit) as failure:  # noqa: BLE001 - what the app raises becomes an error reply
            error = error_of(failure)
            exchange.send(self._channel, {"loaded": False, "code": error.code, "reason": error.reason})
            return
        self._seeding = Seeding.between(before, RandomStates.now())
        gc.collect()
        gc.freeze()  # a collection in a child would otherwise touch, and so copy, every page
        exchange.send(self._channel, {"loaded": True, "unforkable": unforkable()})

    def _fork(self, message_id: str, inputs: int, outputs: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        zygote_pid, late = os.getpid(), LateImports()
        pid = os.fork()
        if pid == 0:
            die_with_parent(zygote_pid)
            self._selector.close()
            self._be_child(message_id, inputs, outputs, late)
        os.close(inputs)
        os.close(outputs)
        watch = os.pidfd_open(pid)
        self._children[pid] = (watch, late)
        self._selector.register(watch, selectors.EVENT_READ, data=pid)
        exchange.send(self._channel, {"started": pid})

    def _be_child(self, message_id: str, inputs: int, outputs: int, late: LateImports) -> None:
        """Run the app and exit as a program does, with its exit handlers; after the reply is complete."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        Path("/proc/self/oom_score_adj").write_text(CHILD_OOM_SCORE, encoding="ascii")
        enter_child(self._seeding)
        if self._app is None:
            sys.exit("no app is loaded")
        with Parcel(inputs) as parcel:
            run_app(self._app, parcel, message_id, ParcelWriter(outputs))
        with suppress(Exception):  # whatever an app has put among the modules
            late.write()
        exchange.send(self._channel, {"done": os.getpid()})
        leave()

    def _bury(self, descriptor: int, pid: int) -> None:
        self._selector.unregister(descriptor)
        watch, late = self._children.pop(pid)
        os.close(watch)
        _, status = os.waitpid(pid, 0)
        exchange.send(self._channel, {"ended": pid, "status": os.waitstatus_to_exitcode(status)})
        names = late.read()
        if names and self._learns:
            self._learn(names)

    def _learn(self, names: list[str]) -> None:
        unchanged = import_all(names)
        self._spoiled = unforkable() if unchanged else "a late import draws random numbers"
        gc.collect()
        gc.freeze()


def leave() -> NoReturn:
    """End a child as a program ends: threads joined, exit handlers run, output written.

    Nothing is taken apart: that would touch, and so copy, every shared page, which takes 0.15 s with PyTorch.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - what Python calls at its end
    atexit._run_exitfuncs()  # noqa: SLF001 - the same
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def unforkable() -> str:
    """Say why a fork of this process would not behave as a new one; empty when it would.

    NumPy's OpenBLAS ends its threads before a fork and starts them again after; a fork for a probe tells them
    from threads that would be missing in a child, such as OpenMP's after a first parallel region.
    """
    if threading.active_count() > 1:
        names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        return f"the app starts threads when it is imported: {', '.join(names)}"
    cuda = uses_cuda()
    if cuda:
        return cuda
    probe = os.fork()
    if probe == 0:
        try:
            code = int(is_poisoned())
        except BaseException:  # noqa: BLE001 - whatever happens, the child ends here
            code = _FAILED
        finally:
            os._exit(code)
    _, status = os.waitpid(probe, 0)
    ended = os.waitstatus_to_exitcode(status)
    if ended:
        return ASKED if ended == 1 else UNKNOWN
    threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    return f"the app starts {threads - 1} native threads when it is imported" if threads > 1 else ""


def main(argv: list[str]) -> None:
    """Serve the executor at the other end of the socket."""
    steady_output()
    use_packages(os.environ)
    make_quickly(setattr)
    descriptor, parent_pid = map(int, argv)
    die_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the SuperNode decides
    Zygote(socket.socket(fileno=descriptor)).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
