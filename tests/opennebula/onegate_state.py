"""What the OneGate of the tests knows and does to it: the VMs of one service, and what goes wrong.

Each behaviour names the fact that it copies: a file and line of OpenNebula 7.4, or "measured" for what a real
server was seen to do.
"""

import random
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

from oned_template import MalformedError, XPathError, append, escape, parse, replacement, without, written

# onegate-server.conf (:restricted_attrs).
RESTRICTED = {"SCHED_REQUIREMENTS", "SERVICE_ID", "ROLE_NAME"}
# What every refusal with 500 says in 7.x; 6.x says the reason itself: onegate-server.rb:135 (error 500).
BROKEN = "Internal server error"


@dataclass
class Faults:
    """What goes wrong from now on.

    Attributes
    ----------
    outage
        "oned": nothing listens there, so no token can be checked. "oned-hangs": it is stopped, and goes on
        when this ends. "oned-between": it goes away once the token was checked. "oned-cuts": it does what it
        is told, and its answer is lost. "oneflow": OneFlow is away. "refused": OneGate itself. "status":
        `status` to everything.
    latency_s, spread_s
        Seconds that a request is worked on, and up to so many more, drawn for each: later ones overtake.
    erase_gap_s
        Seconds between the reading and the writing of an erase.
    workers
        Requests that are worked on at once; the others wait.
    """

    outage: str = ""
    status: int = 503
    latency_s: float = 0.0
    spread_s: float = 0.0
    erase_gap_s: float = 0.01
    workers: int = 5


class Refusal(Exception):  # noqa: N818 - an answer, not an error of ours
    """An answer with a status and a text."""

    def __init__(self, status, text):
        super().__init__(status)
        self.status, self.text = status, text


class State:
    """The VMs of one service: role, address and USER_TEMPLATE by id, a token each, and what goes wrong."""

    def __init__(self, vms, tokens, faults=None, roles=(), seed=None):
        """`vms` maps id -> {"role": ..., "ip": ...}, `tokens` id -> token; `roles` also have no VM yet."""
        self.vms = {int(i): {"template": {}, **vm} for i, vm in vms.items()}
        self.tokens = {int(i): token for i, token in tokens.items()}
        self.faults = Faults(**(faults or {}))
        self.roles = tuple(roles)
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

    def erase(self, vm_id, body, *, writes=True):
        """Read the whole, leave a key out, write the whole: what was set between is lost (measured 7.4).

        Of any type but 1 and 2 nothing is written: onegate-server.rb:617.
        """
        path = escape(body)
        _check_restricted(path, "cannot be deleted")
        with self.lock:
            before = self.shown(vm_id)
        try:
            after, found = without(before, path)
        except XPathError as error:
            raise Refusal(500, str(error)) from None  # an exception tells itself: onegate-server.rb:136
        if not writes:
            return
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
        # A role whose VMs are still to come has no nodes: measured 7.4.
        names = dict.fromkeys([*(vm["role"] for vm in self.vms.values()), *self.roles])
        roles = {name: {"name": name, "cardinality": 0, "state": 2, "nodes": []} for name in names}
        for vm_id, vm in self.vms.items():
            info = {"ID": str(vm_id), "UID": "0", "GID": "0", "NAME": f"vm-{vm_id}"}
            if extended:
                whole = {"NIC": {"IP": vm["ip"], "NIC_ID": "0", "NETWORK": "net"}, "VMID": str(vm_id)}
                info |= {"USER_TEMPLATE": self.shown(vm_id), "TEMPLATE": whole}
            role = roles[vm["role"]]
            role["cardinality"] += 1
            role["nodes"].append({"deploy_id": vm_id, "running": None, "vm_info": {"VM": info}})
        return {"SERVICE": {"name": "oneflower", "id": "1", "state": 2, "roles": list(roles.values())}}

    @contextmanager
    def worker(self):
        """Wait for one of the few that work: puma has 5 threads here, oned takes 15 calls (measured 7.4)."""
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

    def take_over(self, vms, tokens, faults=None, roles=()):
        """Another set of VMs; what they said stays, and one that went can still speak for itself."""
        with self.lock:
            now = State(vms, tokens)
            for vm_id in self.vms.keys() & now.vms.keys():
                now.vms[vm_id]["template"] = self.vms[vm_id]["template"]
            self.gone |= {vm_id: vm for vm_id, vm in self.vms.items() if vm_id not in now.vms}
            self.vms, self.tokens = now.vms, {**self.tokens, **now.tokens}
            self.faults, self.roles = Faults(**(faults or {})), tuple(roles)


def _check_restricted(text, what):
    """Names before the first ``=`` of each line; a blank before one lets it pass: onegate-server.rb:352."""
    for line in text.split("\n"):
        name = line.partition("=")[0]
        if name.upper() in RESTRICTED:
            raise Refusal(403, f"Attribute ({name}) {what}")
