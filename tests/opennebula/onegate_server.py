"""A OneGate for tests that answers, refuses and loses as the real one of OpenNebula 7.4 does.

Each behaviour names the fact that it copies: a file and line of OpenNebula 7.4, or "measured" for what a real
server was seen to do. `tests/contract/onegate.py` asks this one and a real one the same.

Run as a program it serves hosts of their own: ``onegate_server.py ADDRESS PORT SERVICE_FILE DUMP_FILE``. The
service file holds ``vms``, ``tokens`` and, where something is to go wrong, ``faults`` (the fields of
`Faults`); it is read before each request, so that a test switches while the server runs. Each change of a VM
is a line in the dump file.
"""

import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from onegate_state import BROKEN, Refusal, State

# OneGate gives up on oned after it, oned goes on: measured 7.4.
WORKED_ON_S = 30.0
ROUTES = re.compile(r"(GET|PUT) (vm|vms/[^/]+)|GET (service)?")
NO_ONED = "Failed to open TCP connection to localhost:2633"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._work("")

    def do_PUT(self):
        length = int(self.headers.get("Content-Length") or 0)
        self._work(self.rfile.read(length).decode(errors="surrogateescape"))

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
            # Such a body is read as parameters first, and they win over those of the query: measured 7.4.
            if re.search(r"%(?![0-9A-Fa-f]{2})", body):
                raise Refusal(400, "Invalid query parameters: invalid %-encoding")
            given |= dict(parse_qsl(body, keep_blank_values=True))
        path = re.sub("^/+", "", url.path)
        if not ROUTES.fullmatch(f"{self.command} {path}"):
            # Before any token is looked at: measured 7.4.
            raise Refusal(400, "OneGate server doesn't support this feature")
        vm_id = self._authenticated()
        takes = state.takes()
        time.sleep(min(takes, WORKED_ON_S))
        if takes > WORKED_ON_S and self.command == "PUT":
            late = threading.Timer(takes - WORKED_ON_S, self._late, (path, given, body, vm_id))
            late.daemon = True
            late.start()
            raise Refusal(500, BROKEN)  # and stored nevertheless: measured 7.4
        if takes > WORKED_ON_S or state.faults.outage in ("oned", "oned-between"):
            raise Refusal(404, NO_ONED)  # onegate-server.rb:190 (get_vm): the call after the token's
        answer = self._done(path, given, body, vm_id)
        if state.faults.outage == "oned-cuts" and self.command == "PUT":
            raise Refusal(500, BROKEN)
        return answer

    def _late(self, *request):
        """Oned has done it, though OneGate has given up."""
        try:
            self._done(*request)
        except Refusal:
            return

    def _authenticated(self):
        """401 for a missing header, an unknown VM, a token of another VM, and when oned cannot be asked."""
        state = self.server.state
        # "7x" is 7 for Ruby, and blanks around a token are nothing: measured 7.4.
        vm_id = re.match(r"\s*(\d*)", self.headers.get("X-ONEGATE-VMID") or "")[1]
        token = (self.headers.get("X-ONEGATE-TOKEN") or "").strip()
        hangs_until = time.monotonic() + WORKED_ON_S
        while state.faults.outage == "oned-hangs" and time.monotonic() < hangs_until:
            time.sleep(0.05)
            with state.lock:
                state.refresh()
        known = vm_id and token and state.tokens.get(int(vm_id)) == token
        # OneGateCloudAuth.rb:45: an error of vm.info, no token and a wrong one end alike.
        if not known or state.faults.outage in ("oned", "oned-hangs"):
            raise Refusal(401, "Not authorized")
        return int(vm_id)

    def _done(self, path, given, body, vm_id):
        state = self.server.state
        match self.command, path.split("/"):
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
                self._ask_oneflow()
                with state.lock:
                    # Any text is true for Ruby, "false" too: onegate-server.rb:688.
                    return state.service(vm_id, extended="extended" in given)
            case "PUT", ["vm"]:
                return self._changed(vm_id, given, body)
            case "PUT", ["vms", other]:
                # A VM may write to others of its service: measured 7.4.
                return self._changed(self._requested(other, vm_id), given, body)
        raise AssertionError(path)

    def _ask_oneflow(self):
        """A service that is gone and a OneFlow that is away are one answer: onegate-server.rb:289."""
        if self.server.state.in_service and self.server.state.faults.outage == "oneflow":
            raise Refusal(404, "Service 1 not found")

    def _requested(self, other, vm_id):
        state, found = self.server.state, int(re.match(r"\d*", other)[0] or 0)
        if found != vm_id:
            if not state.in_service:
                raise Refusal(
                    400,
                    "This VM does not belong to any Virtual Router or Service, so it cannot retrieve "
                    "information from other VMs",
                )
            self._ask_oneflow()
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
        else:
            state.erase(vm_id, body, writes=False)

    def _answer(self, status, text):
        content = text.encode(errors="surrogateescape")
        self.send_response(status)
        self.send_header("Content-Type", "application/json;charset=utf-8")
        self.send_header("X-Content-Type-Options", "nosniff")
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
