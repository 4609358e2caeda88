"""A OneGate for tests that answers, refuses and loses as the real one of OpenNebula 7.4 does.

Each behaviour names the fact that it copies: a file and line of OpenNebula 7.4, or "measured" for what a real
server was seen to do. `tests/contract/onegate.py` asks this one and a real one the same.

Run as a program it serves hosts of their own: ``onegate_server.py ADDRESS PORT SERVICE_FILE DUMP_FILE``. The
service file holds ``vms``, ``tokens`` and, where something is to go wrong, ``faults`` (the fields of
`Faults`); it is read before each request, so that a test switches while the server runs. Each change of a VM
is a line in the dump file.
"""

import json
import random
import re
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from oned_template import MalformedError, XPathError, append, escape, parse, replacement, without, written

# onegate-server.conf (:restricted_attrs).
RESTRICTED = {"SCHED_REQUIREMENTS", "SERVICE_ID", "ROLE_NAME"}
# OneGate gives up on oned after it, oned goes on: measured 7.4.
WORKED_ON_S = 30.0
# What every refusal with 500 says in 7.x; 6.x says the reason itself: onegate-server.rb:135 (error 500).
BROKEN = "Internal server error"
NO_ONED = "Failed to open TCP connection to localhost:2633"


@dataclass
class Faults:
    """What goes wrong from now on.

    Attributes
    ----------
    outage
        "oned": it does not answer, so no token can be checked. "oned-between": it goes away once the token
        was checked. "oneflow": OneFlow is away. "refused": nothing listens. "status": `status` to everything.
    latency_s, spread_s
        Seconds that a request is worked on, and up to so many more, drawn for each: later ones overtake.
    erase_gap_s
        Seconds between the reading and the writing of an erase.
    workers
        Requests that are worked on at once; the others wait: MAX_CONN of oned.conf.
    """

    outage: str = ""
    status: int = 503
    latency_s: float = 0.0
    spread_s: float = 0.0
    erase_gap_s: float = 0.01
    workers: int = 15


class Refusal(Exception):  # noqa: N818 - an answer, not an error of ours
    """An answer with a status and a text."""

    def __init__(self, status, text):
        super().__init__(status)
        self.status, self.text = status, text


class State:
    """The VMs of one service: role, address and USER_TEMPLATE by id, a token each, and what goes wrong."""

    def __init__(self, vms, tokens, faults=None, seed=None):
        """`vms` maps id -> {"role": ..., "ip": ...}; `tokens` maps id -> token."""
        self.vms = {int(i): {"template": {}, **vm} for i, vm in vms.items()}
        self.tokens = {int(i): token for i, token in tokens.items()}
        self.faults = Faults(**(faults or {}))
        self.in_service = True
        self.gone = {}  # VMs that are no longer in the service: their tokens go on
        self.calls = []
        self.failures = []  # status codes to answer before anything else
        self.lock = threading.RLock()  # held while oned changes something, never while it takes its time
        self.refresh = lambda: None  # called before each request
        self.changed = lambda vm_id, status: None  # called after each change, under the lock
        self._at_work = 0
        self._freed = threading.Condition()
        self._random = random.Random(seed)

    def gate_is_open(self, vm_id):
        """OneFlow looks for a substring of the whole USER_TEMPLATE: EventManager.rb:605."""
        template = self.known(vm_id)["template"]
        return "READY=YES" in " ".join(f"{key}={value}" for key, value in template.items())

    def known(self, vm_id):
        return self.vms.get(vm_id) or self.gone[vm_id]

    def put(self, vm_id, text):
        """Take a body at once, as if it were sent alone, and return the status."""
        try:
            self.update(vm_id, text)
        except Refusal as refusal:
            return refusal.status
        return 200

    def update(self, vm_id, body):
        """Merge a body into the template: onegate-server.rb:566 (update)."""
        text = escape(body)
        _check_restricted(text, "cannot be modified")
        try:
            pairs = parse(text)
        except MalformedError:
            raise Refusal(500, BROKEN) from None  # onegate-server.rb:608, and nothing was changed
        with self.lock:
            self._keep(vm_id, append(self.known(vm_id)["template"], pairs))

    def erase(self, vm_id, body):
        """Read the whole, leave a key out, write the whole: what was set between is lost (measured 7.4)."""
        path = escape(body)
        _check_restricted(path, "cannot be deleted")
        with self.lock:
            before = self.shown(vm_id)
        try:
            after, found = without(before, path)
        except XPathError as error:
            raise Refusal(500, str(error)) from None  # an exception tells itself: onegate-server.rb:136
        if not found:
            raise Refusal(500, BROKEN)  # onegate-server.rb:614; its log says "attribute not found" (measured)
        time.sleep(self.faults.erase_gap_s)
        try:
            rewritten = replacement(parse(written(after)))
        except MalformedError:
            raise Refusal(500, BROKEN) from None
        with self.lock:
            own = self._own(vm_id)
            self._keep(vm_id, {name: value for name, value in rewritten.items() if name not in own})

    def _keep(self, vm_id, template):
        """Change the dict that tests look at."""
        kept = self.known(vm_id)["template"]
        for name in kept.keys() - template.keys():
            del kept[name]
        kept.update(template)
        self.changed(vm_id, 200)

    def _own(self, vm_id):
        """What OneFlow wrote when it made the VM."""
        return {"ROLE_NAME": self.known(vm_id)["role"], "SERVICE_ID": "1"} if self.in_service else {}

    def shown(self, vm_id):
        return {**self.known(vm_id)["template"], **self._own(vm_id)}

    def vm(self, vm_id):
        """A few keys, and NIC always a list: onegate-server.rb:629 (build_vm_hash)."""
        vm = self.known(vm_id)
        return {
            "VM": {
                "NAME": f"vm-{vm_id}",
                "ID": str(vm_id),
                "STATE": "3" if vm_id in self.vms else "6",
                "LCM_STATE": "3" if vm_id in self.vms else "0",
                "USER_TEMPLATE": self.shown(vm_id),
                "TEMPLATE": {"NIC": [{"IP": vm["ip"], "NETWORK": "net"}], "NIC_ALIAS": []},
            }
        }

    def service(self, asking, *, extended):
        """Only `extended` has addresses and USER_TEMPLATE; a single NIC is an object there (measured 7.0)."""
        if not self.in_service:
            raise Refusal(400, "Empty or invalid SERVICE_ID")  # onegate-server.rb:281
        if asking not in self.vms:
            raise Refusal(400, f"Service 1 does not contain VM {asking}.")  # onegate-server.rb:420
        roles = {}
        for vm_id, vm in self.vms.items():
            info = {"ID": str(vm_id), "UID": "0", "GID": "0", "NAME": f"vm-{vm_id}"}
            if extended:
                whole = {"NIC": {"IP": vm["ip"], "NIC_ID": "0", "NETWORK": "net"}, "VMID": str(vm_id)}
                info |= {"USER_TEMPLATE": self.shown(vm_id), "TEMPLATE": whole}
            role = roles.setdefault(
                vm["role"], {"name": vm["role"], "cardinality": 0, "state": 2, "nodes": []}
            )
            role["cardinality"] += 1
            role["nodes"].append({"deploy_id": vm_id, "running": None, "vm_info": {"VM": info}})
        return {"SERVICE": {"name": "oneflower", "id": "1", "state": 2, "roles": list(roles.values())}}

    @contextmanager
    def worker(self):
        """Wait for one of few that work: oned.conf:281 (MAX_CONN = 15)."""
        with self._freed:
            self._freed.wait_for(lambda: self._at_work < self.faults.workers)
            self._at_work += 1
        try:
            yield
        finally:
            with self._freed:
                self._at_work -= 1
                self._freed.notify_all()

    def takes(self):
        """How long the request that comes now is worked on."""
        return self.faults.latency_s + self._random.uniform(0, self.faults.spread_s)

    def take_over(self, vms, tokens, faults=None):
        """Another set of VMs; what they said stays, and one that went can still speak for itself."""
        with self.lock:
            now = State(vms, tokens)
            for vm_id in self.vms.keys() & now.vms.keys():
                now.vms[vm_id]["template"] = self.vms[vm_id]["template"]
            self.gone |= {vm_id: vm for vm_id, vm in self.vms.items() if vm_id not in now.vms}
            self.vms, self.tokens = now.vms, {**self.tokens, **now.tokens}
            self.faults = Faults(**(faults or {}))


def _check_restricted(text, what):
    """Names before the first ``=`` of each line; a blank before one lets it pass: onegate-server.rb:352."""
    for line in text.split("\n"):
        name = line.partition("=")[0]
        if name.upper() in RESTRICTED:
            raise Refusal(403, f"Attribute ({name}) {what}")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._work("")

    def do_PUT(self):
        length = int(self.headers.get("Content-Length") or 0)
        self._work(self.rfile.read(length).decode(errors="replace"))

    do_POST = do_DELETE = do_PUT  # noqa: N815 - http.server looks for these names

    def log_message(self, *args):
        pass

    def _work(self, body):
        """Answer, unless nobody listens; the client may have gone, the work is done nevertheless."""
        state = self.server.state
        with state.lock:
            state.refresh()
            state.calls.append((self.command, self.path))
            failure = state.failures.pop(0) if state.failures else None
        outage = state.faults.outage
        if outage == "refused":
            self.close_connection = True
            return
        if failure or outage == "status":
            self._answer(failure or state.faults.status, "")
            return
        try:
            with state.worker():
                answer = self._routed(body)
        except Refusal as refusal:
            self._answer(refusal.status, refusal.text)
        else:
            self._answer(200, "" if answer is None else json.dumps(answer))

    def _routed(self, body):
        state, url = self.server.state, urlsplit(self.path)
        given = dict(parse_qsl(url.query, keep_blank_values=True))
        if (self.headers.get("Content-Type") or "").startswith("application/x-www-form-urlencoded"):
            # Sinatra reads parameters from such a body too, and they win.
            given |= dict(parse_qsl(body, keep_blank_values=True))
        vm_id = self._authenticated()
        takes = state.takes()
        time.sleep(min(takes, WORKED_ON_S))
        if takes > WORKED_ON_S and self.command == "PUT":
            late = threading.Timer(takes - WORKED_ON_S, self._late, (url.path, given, body, vm_id))
            late.daemon = True
            late.start()
        if takes > WORKED_ON_S or state.faults.outage in ("oned", "oned-between"):
            raise Refusal(404, NO_ONED)  # onegate-server.rb:190 (get_vm): the call after the token's
        return self._done(url.path, given, body, vm_id)

    def _late(self, *request):
        """Oned has done it, though OneGate has given up."""
        try:
            self._done(*request)
        except Refusal:
            return

    def _authenticated(self):
        """401 for a missing header, an unknown VM, a token of another VM, and when oned cannot be asked."""
        state = self.server.state
        vm_id = self.headers.get("X-ONEGATE-VMID") or ""
        token = self.headers.get("X-ONEGATE-TOKEN")
        known = vm_id.isdigit() and token is not None and state.tokens.get(int(vm_id)) == token
        # OneGateCloudAuth.rb:45: an error of vm.info, no token and a wrong one end alike.
        if not known or state.faults.outage == "oned":
            raise Refusal(401, "Not authorized")
        return int(vm_id)

    def _done(self, path, given, body, vm_id):
        state = self.server.state
        match self.command, path.strip("/").split("/"):
            case "GET", [""]:
                base = f"http://{self.headers.get('Host')}"
                return {"vm_info": f"{base}/vm", "service_info": f"{base}/service"}
            case "GET", ["vm"]:
                with state.lock:
                    return state.vm(vm_id)
            case "GET", ["vms", other]:
                with state.lock:
                    return state.vm(self._requested(other, vm_id))
            case "GET", ["service"]:
                if state.faults.outage == "oneflow":
                    raise Refusal(404, "Service 1 not found")  # onegate-server.rb:289
                with state.lock:
                    # Any text is true for Ruby, "false" too: onegate-server.rb:688.
                    return state.service(vm_id, extended="extended" in given)
            case "PUT", ["vm"]:
                return self._changed(vm_id, given, body)
            case "PUT", ["vms", other]:
                # A VM may write to others of its service: measured 7.4.
                return self._changed(self._requested(other, vm_id), given, body)
        # onegate-server.rb:1058 (the last route).
        raise Refusal(400, "OneGate server doesn't support this feature")

    def _requested(self, other, vm_id):
        state, found = self.server.state, int(re.match(r"\d*", other)[0] or 0)
        if found != vm_id:
            if not state.in_service:
                raise Refusal(
                    400,
                    "This VM does not belong to any Virtual Router or Service, so it cannot retrieve "
                    "information from other VMs",
                )
            if found not in state.vms:
                raise Refusal(400, f"Service 1 does not contain VM {found}.")
        return found

    def _changed(self, vm_id, given, body):
        """``type`` is 1 without one, and what Ruby makes of the text: onegate-server.rb:570."""
        state = self.server.state
        body = given.get("data", body)
        kind = int(re.match(r"\s*(-?\d+)|", given.get("type", "1"))[1] or 0)
        if kind == 1:
            state.update(vm_id, body)
        elif kind == 2:
            state.erase(vm_id, body)

    def _answer(self, status, text):
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json;charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class OneGateServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address, state):
        super().__init__(address, Handler)
        self.state = state

    @property
    def endpoint(self):
        return f"http://{self.server_address[0]}:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """A client that gave up is no error of the server."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _refreshed(state, file):
    """Return what takes over the service file when it has changed."""
    seen = [None]

    def refresh():
        stamp = file.stat()
        if (stamp.st_mtime_ns, stamp.st_ino) != seen[0]:
            seen[0] = (stamp.st_mtime_ns, stamp.st_ino)
            state.take_over(**json.loads(file.read_text(encoding="utf-8")))

    return refresh


def _dumped(state, file):
    def dump(vm_id, status):
        known = {"vm": vm_id, "status": status, "template": state.known(vm_id)["template"]}
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({**known, "gate": state.gate_is_open(vm_id), "time": time.time()}) + "\n")

    return dump


def main(address, port, service_file, dump_file):
    """Serve until stopped, with nobody listening while the faults say so."""
    state = State({}, {})
    state.refresh, state.changed = _refreshed(state, Path(service_file)), _dumped(state, Path(dump_file))
    while True:
        state.refresh()
        if state.faults.outage != "refused":
            with OneGateServer((address, int(port)), state) as server:
                threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
                while state.faults.outage != "refused":
                    time.sleep(0.1)
                    with state.lock:
                        state.refresh()
                server.shutdown()
        time.sleep(0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
