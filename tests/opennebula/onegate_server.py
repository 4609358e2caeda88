"""A OneGate for tests: it answers, and refuses, as the real one does.

Run as a program it serves hosts of their own: ``onegate_server.py ADDRESS PORT SERVICE_FILE TOKEN_FILE``.
"""

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

FORBIDDEN_KEYS = {"SERVICE_ID", "ROLE_NAME"}
UNPARSED = re.compile(r"[,\[\]\"\\{}]|-----")


class State:
    """The VMs of one service: role, address and USER_TEMPLATE by id, and a token each."""

    def __init__(self, vms, tokens):
        """`vms` maps id -> {"role": ..., "ip": ...}; `tokens` maps id -> token."""
        self.vms = {int(i): {"template": {}, **vm} for i, vm in vms.items()}
        self.tokens = {int(i): token for i, token in tokens.items()}
        self.in_service = True
        self.calls = []
        self.failures = []  # status codes to answer before anything else
        self.lock = threading.Lock()
        self.refresh = lambda: None  # called before each request

    def gate_is_open(self, vm_id):
        """OneFlow looks for a substring of the whole USER_TEMPLATE."""
        template = self.vms[vm_id]["template"]
        return "READY=YES" in " ".join(f"{key}={value}" for key, value in template.items())

    def put(self, vm_id, text):
        """Take ``KEY=value`` lines and return a status."""
        pairs = [line.partition("=") for line in text.splitlines() if line.strip()]
        if any(not equals or UNPARSED.search(value) for _, equals, value in pairs):
            return 500
        keys = [key.strip().upper() for key, _, _ in pairs]
        if FORBIDDEN_KEYS & set(keys):
            return 403
        self.vms[vm_id]["template"].update(zip(keys, (value for _, _, value in pairs), strict=True))
        return 200

    def erase(self, vm_id, text):
        for key in text.splitlines():
            self.vms[vm_id]["template"].pop(key.strip().upper(), None)
        return 200

    def vm(self, vm_id):
        """A single NIC is a list here."""
        vm = self.vms[vm_id]
        return {
            "VM": {
                "ID": str(vm_id),
                "NAME": f"vm-{vm_id}",
                "USER_TEMPLATE": dict(vm["template"]),
                "TEMPLATE": {"NIC": [{"IP": vm["ip"]}]},
            }
        }

    def service(self, *, extended):
        """Only `extended` has addresses and USER_TEMPLATE; a single NIC is an object there."""
        roles = {}
        for vm_id, vm in self.vms.items():
            info = {"ID": str(vm_id), "NAME": f"vm-{vm_id}"}
            if extended:
                info |= {"USER_TEMPLATE": dict(vm["template"]), "TEMPLATE": {"NIC": {"IP": vm["ip"]}}}
            role = roles.setdefault(vm["role"], {"name": vm["role"], "cardinality": 0, "nodes": []})
            role["cardinality"] += 1
            role["nodes"].append({"deploy_id": vm_id, "running": None, "vm_info": {"VM": info}})
        return {"SERVICE": {"name": "oneflower", "id": "1", "state": 1, "roles": list(roles.values())}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with self.server.state.lock:
            self._answer(*self._get())

    def do_PUT(self):
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        with self.server.state.lock:
            self._answer(self._put(text), None)

    def log_message(self, *args):
        pass

    def _refusal(self):
        state = self.server.state
        state.refresh()
        state.calls.append((self.command, self.path))
        if state.failures:
            return state.failures.pop(0)
        vm_id = self.headers.get("X-ONEGATE-VMID") or ""
        token = self.headers.get("X-ONEGATE-TOKEN")
        if not vm_id.isdigit() or token is None or state.tokens.get(int(vm_id)) != token:
            return 401
        return None

    def _get(self):
        state, url = self.server.state, urlsplit(self.path)
        refusal = self._refusal()
        if refusal:
            return refusal, None
        vm_id = int(self.headers["X-ONEGATE-VMID"])
        if url.path == "/vm":
            return 200, state.vm(vm_id)
        if url.path == "/service" and state.in_service:
            return 200, state.service(extended=parse_qs(url.query).get("extended") == ["true"])
        return 404, None

    def _put(self, text):
        state, url = self.server.state, urlsplit(self.path)
        refusal = self._refusal()
        if refusal or url.path != "/vm":
            return refusal or 404
        vm_id = int(self.headers["X-ONEGATE-VMID"])
        return state.erase(vm_id, text) if url.query == "type=2" else state.put(vm_id, text)

    def _answer(self, status, value):
        content = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class OneGateServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address, state):
        super().__init__(address, Handler)
        self.state = state

    @property
    def endpoint(self):
        return f"http://{self.server_address[0]}:{self.server_address[1]}"


def _dumped(state, change, file):
    def and_dump(vm_id, text):
        status = change(vm_id, text)
        known = {"vm": vm_id, "status": status, "template": state.vms[vm_id]["template"]}
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({**known, "gate": state.gate_is_open(vm_id)}) + "\n")
        return status

    return and_dump


def _refreshed(state, file):
    """Return what takes over which VMs there are, when the file has changed; what they said stays."""
    seen = [file.stat().st_mtime_ns]

    def refresh():
        if file.stat().st_mtime_ns == seen[0]:
            return
        seen[0] = file.stat().st_mtime_ns
        now = State(**json.loads(file.read_text(encoding="utf-8")))
        kept = {vm_id: state.vms[vm_id]["template"] for vm_id in now.vms.keys() & state.vms.keys()}
        state.vms, state.tokens = now.vms, now.tokens
        for vm_id, template in kept.items():
            state.vms[vm_id]["template"] = template

    return refresh


def main(address, port, service_file, dump_file):
    """Serve until stopped; write the whole state after every change."""
    state = State(**json.loads(Path(service_file).read_text(encoding="utf-8")))
    state.refresh = _refreshed(state, Path(service_file))
    for change in ("put", "erase"):
        setattr(state, change, _dumped(state, getattr(state, change), Path(dump_file)))
    with OneGateServer((address, int(port)), state) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
