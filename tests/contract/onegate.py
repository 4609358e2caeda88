"""Ask a OneGate one set of calls, and print where it differs from `tests/opennebula/onegate_server.py`.

    ONEGATE=http://169.254.16.9:5030 TOKEN=... VMID=7 [OTHER_VMID=8] python tests/contract/onegate.py

The VM's USER_TEMPLATE is left as it was: keys of its own are FL_CONTRACT_*, and are removed. The exit code is
1 where something differs. An erase rewrites the whole USER_TEMPLATE, so no other writer should be at work,
and a value that ends in a backslash, on which every erase breaks, stops it at the beginning.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field

TIMEOUT_S = 60
OWN = "FL_CONTRACT"
A, B = f"{OWN}_A", f"{OWN}_B"
NOT_AUTHORIZED = "Not authorized"
# 7.x answers the first whatever the reason is, 6.x the reason itself.
BROKEN = ("Internal server error", "attribute not found", "Parse error", "not a proper XML-RPC call")

# What a body stores; None where the whole of it is refused with 500, and nothing is stored.
BODIES = {
    f"{A}=training": {A: "training"},
    f"{A.lower()}=YES": {A: "YES"},
    f"{A}=1\n{B}=2": {A: "1", B: "2"},
    f"{A}=1\n\n{B}=2\n": {A: "1", B: "2"},
    f"{A}=x\n": {A: "x"},
    f"{A} = b c ": {A: "b c"},
    f"  {A}=1": {A: "1"},
    f"{A}=": {A: '"'},
    f"{A}=\n{B}=2": {A: "", B: "2"},
    f'{A}=""': {A: ""},
    f'{A}="x y"': {A: "x y"},
    f"{A}=1=2": {A: "1=2"},
    f"{A}=1\n{A}=2": {A: ["1", "2"]},
    f"{A}=#x": {A: "#x"},
    f"#{A}=1\n{B}=2": {B: "2"},
    f"{A}='x'": {A: "'x'"},
    f"{A}=a&b<c>d": {A: "a&b<c>d"},
    f"{A}=äöü€": {A: "äöü€"},
    f"{A}=$(reboot)`id`;$HOME%n": {A: "$(reboot)`id`;$HOME%n"},
    f"{A}=a/b+c==": {A: "a/b+c=="},
    f"{A}=a\tb": {A: "a\tb"},
    f"{A}=" + "y" * 65000: {A: "y" * 65000},
    f"{A}=[K=1]": {A: {"K": "1"}},
    f"{A}=[k=b c]": {A: {"K": "b c"}},
    f"{A}=[K=1,L=2]": {A: {"K": "1", "L": '2"'}},
    f"1{A}=x": {f"ONE_1{A}": "x"},
    f"XML{A}=x": {f"ONE_XML{A}": "x"},
    f"{A}=a\\b": {A: '"a"\\b'},
    f"{A}=[]": {},
    f"{A}=\n": {A: ""},
    f'{A}=" "': {A: ""},
    f'{A}="a\\"': {A: '"a""'},
    f"{A}=x\r\n{B}=y\r\n": {A: "x", B: "y"},
    f'{A}="v" {B}="w"': {A: "v", B: "w"},
    f"{A}=100%": {A: "100%"},
    f"<T><{A}>1</{A}></T>": {A: "1"},
    f"<T><{A}/></T>": {},
    " ": {},
    "": {},
    A: None,
    f"{A}=b,c": None,
    f"{A}=x[1]": None,
    f"{A}=[x]": None,
    f'{A}=say "hi"': None,
    f"{A}=x\\ny": None,
    f"{A}=x]]>y": None,
    f"{OWN}-A=1": None,
    f"{OWN} A=1": None,
    "=x": None,
    f'{A}="a=b"': None,
    f'{A}="YWI=="': None,
    f'{A} = "a"': None,
    f'{A}="a\nb"': None,
    f"{A}=\U0001f600": None,
    f"{A}=a\0b": None,
    f"{A}=a\x01b": None,
    f'{{"{A}": 1}}': None,
    f"{A}=-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----": None,
    f"{B}=2\n{A}=b,c": None,
}
RESTRICTED = ("SERVICE_ID", "ROLE_NAME", "SCHED_REQUIREMENTS")


@dataclass(frozen=True)
class Answer:
    """A status, a text, and the text as JSON where it is some."""

    status: int
    text: str
    kind: str = ""

    @property
    def json(self):
        try:
            return json.loads(self.text)
        except ValueError:
            return None


@dataclass
class Contract:
    """One run: who asks, and what differed."""

    endpoint: str
    token: str
    vm_id: str
    other: str = ""
    differences: list = field(default_factory=list)
    checks: int = 0

    def call(self, method, path, body=None, **headers):
        """Call as the VM; a header that is None is not sent."""
        sent = {"X-ONEGATE-TOKEN": self.token, "X-ONEGATE-VMID": self.vm_id, "Content-Type": "text/plain"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            self.endpoint.rstrip("/") + path,
            data=None if body is None else body.encode(),
            headers={name: value for name, value in sent.items() if value is not None},
            method=method,
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                return Answer(answer.status, answer.read().decode(), answer.headers.get("Content-Type", ""))
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode(errors="replace"), "")

    def put(self, body, **headers):
        return self.call("PUT", "/vm", body, **headers)

    def erase(self, key):
        return self.call("PUT", "/vm?type=2", key)

    def template(self):
        return self.call("GET", "/vm").json["VM"]["USER_TEMPLATE"]

    def own(self):
        return {name: value for name, value in self.template().items() if OWN in name}

    def expect(self, what, found, *wanted):
        """Note a difference from all that may be found."""
        self.checks += 1
        if found not in wanted:
            expected = " or ".join(map(_short, wanted))
            self.differences.append(f"{what}\n    expected {expected}\n    found    {_short(found)}")

    def refused(self, what, answer, status, texts):
        self.expect(f"status of {what}", answer.status, status)
        found = next((text for text in texts if text in answer.text), answer.text)
        self.expect(f"body of {what}", found, *texts)

    def tidy(self):
        """Remove what is our own, made harmless first: an erase that rewrites a hostile value may fail."""
        for name in self.own():
            self.put(f"{name}=x")
            self.erase(name)


def _short(value):
    text = repr(value)
    return text if len(text) < 300 else f"{text[:150]} ... {text[-50:]}"


def check_reading(run):
    answer = run.call("GET", "/vm")
    run.expect("GET /vm", answer.status, 200)
    run.expect("the type of an answer", answer.kind.split(";")[0], "application/json")
    run.expect("the id in GET /vm", answer.json["VM"]["ID"], run.vm_id)
    # 6.x shows what the VM's monitoring found besides.
    wanted = {"NAME", "ID", "STATE", "LCM_STATE", "USER_TEMPLATE", "TEMPLATE"}
    run.expect("what is missing in GET /vm", wanted - answer.json["VM"].keys(), set())
    template = answer.json["VM"]["TEMPLATE"]
    run.expect("TEMPLATE of GET /vm", sorted(template), ["NIC", "NIC_ALIAS"])
    run.expect("NIC of GET /vm is a list", isinstance(template["NIC"], list), True)
    run.expect("GET /vms/<its own id>", run.call("GET", f"/vms/{run.vm_id}").text, answer.text)
    root = run.call("GET", "/")
    run.expect("GET /", (root.status, sorted(root.json or {})), (200, ["service_info", "vm_info"]))


def check_authentication(run):
    refusals = {
        "a missing token": {"X_ONEGATE_TOKEN": None},
        "a missing VM id": {"X_ONEGATE_VMID": None},
        "a wrong token": {"X_ONEGATE_TOKEN": "bm90IGEgdG9rZW4="},
        "an empty token": {"X_ONEGATE_TOKEN": ""},
        "a VM that never was": {"X_ONEGATE_VMID": "2000000000"},
        "an id that is no number": {"X_ONEGATE_VMID": "x"},
    }
    run.expect(
        "an id with letters behind it", run.call("GET", "/vm", X_ONEGATE_VMID=f"{run.vm_id}x").status, 200
    )
    if run.other:
        refusals["the id of another VM"] = {"X_ONEGATE_VMID": run.other}
    for what, headers in refusals.items():
        run.refused(f"GET /vm with {what}", run.call("GET", "/vm", **headers), 401, [NOT_AUTHORIZED])
    run.refused("PUT with a wrong token", run.put(f"{A}=1", X_ONEGATE_TOKEN="x"), 401, [NOT_AUTHORIZED])


def check_bodies(run):
    for body, stored in BODIES.items():
        run.tidy()
        answer = run.put(body)
        what = f"PUT {_short(body)}"
        if stored is None:
            run.refused(what, answer, 500, BROKEN)
        else:
            run.expect(f"answer to {what}", (answer.status, answer.text), (200, ""))
        run.expect(f"stored by {what}", run.own(), stored or {})


def check_updates(run):
    run.put(f"{A}=1\n{B}=2")
    run.put(f"{B}=3")
    run.expect("an update keeps other keys", run.own(), {A: "1", B: "3"})
    run.call("PUT", f"/vm?data={A}%3D4")
    run.expect("an update by the query", run.own(), {A: "4", B: "3"})
    form = "application/x-www-form-urlencoded"
    run.put(f"{A}=5", Content_Type=form)
    run.expect("an update with a form's type", run.own(), {A: "5", B: "3"})
    refused = run.put(f"{A}=100%", Content_Type=form)
    run.refused("a form with a % alone", refused, 400, ["Invalid query parameters: invalid %-encoding"])
    answer = run.call("PUT", "/vm?type=3", A)
    run.expect("an update of no type", (answer.status, run.own().get(A)), (200, "5"))
    answer = run.call("PUT", "/vm?type=0", f"{A}=6")
    run.expect("an update of type 0", (answer.status, run.own().get(A)), (500, "5"))
    run.call("PUT", f"/vms/{run.vm_id}", f"{A}=7")
    run.expect("an update by its own id", run.own().get(A), "7")


def check_erasing(run):
    run.tidy()
    run.refused("the erase of a key that is not there", run.erase(A), 500, BROKEN)
    run.put(f"{A}=1\n{B}=2")
    run.refused("the erase of a lower-case key", run.erase(A.lower()), 500, BROKEN)
    for what, body in (("two keys", f"{A}\n{B}"), ("a key with a newline", f"{A}\n"), ("nothing", "")):
        run.expect(f"status of the erase of {what}", run.erase(body).status, 500)
    run.expect("what such erases leave", run.own(), {A: "1", B: "2"})
    answer = run.erase(A)
    run.expect("the erase of a key", (answer.status, answer.text, run.own()), (200, "", {B: "2"}))
    run.put(f"{A}=1\n{B}=2")
    run.erase(f" {A}|{B}")
    run.expect("the erase of A|B", run.own(), {B: "2"})
    run.put(f"{A}=1")
    run.erase(f"{A}|USER_TEMPLATE/{B}")
    run.expect("the erase of A|USER_TEMPLATE/B", run.own(), {})
    run.put(f'{A}=""\n{B}="2"')
    run.erase(B)
    run.expect("an empty value after another key was erased", run.own(), {A: ""})


def check_restrictions(run):
    run.tidy()
    for name in (*RESTRICTED, "service_id"):
        answer = run.put(f"{A}=1\n{name}=9")
        run.refused(f"PUT {name}", answer, 403, [f"Attribute ({name}) cannot be modified"])
        run.refused(f"erase {name}", run.erase(name), 403, [f"Attribute ({name}) cannot be deleted"])
    run.expect("stored by a body with a restricted key", run.own(), {})


def check_routes(run):
    unknown = ["OneGate server doesn't support this feature"]
    for call in ("GET /nothing", "GET /vm/", "GET /vms", "POST /vm", "DELETE /vm", "PUT /service"):
        method, path = call.split()
        body = None if method == "GET" else "x"
        run.refused(call, run.call(method, path, body), 400, unknown)
    run.refused("GET /nothing without a token", run.call("GET", "/x", X_ONEGATE_TOKEN=None), 400, unknown)
    run.expect("GET //vm", run.call("GET", "//vm").status, 200)


def check_service(run):
    service_id = run.template().get("SERVICE_ID")
    plain = run.call("GET", "/service")
    if service_id is None:
        run.refused("GET /service outside of one", plain, 400, ["Empty or invalid SERVICE_ID"])
        return
    run.expect("GET /service", plain.status, 200)
    run.expect("GET /service", sorted(plain.json["SERVICE"]), ["id", "name", "roles", "state"])
    role = plain.json["SERVICE"]["roles"][0]
    run.expect("a role", sorted(role), ["cardinality", "name", "nodes", "state"])
    run.expect("a node", sorted(role["nodes"][0]), ["deploy_id", "running", "vm_info"])
    run.expect("the id of a node is a number", isinstance(role["nodes"][0]["deploy_id"], int), True)
    for node in _nodes(plain):
        run.expect("addresses without extended", "USER_TEMPLATE" in node["vm_info"]["VM"], False)
    for query in ("extended=true", "extended=false", "extended="):
        found = run.call("GET", f"/service?{query}")
        for node in _nodes(found):
            vm = node["vm_info"]["VM"]
            run.expect(f"USER_TEMPLATE with {query}", "USER_TEMPLATE" in vm, True)
            nic = vm["TEMPLATE"].get("NIC", {})
            run.expect(f"a single NIC with {query} is an object", isinstance(nic, dict), True)
    run.refused("GET /vms/<a strange VM>", run.call("GET", "/vms/2000000000"), 400, ["does not contain VM"])
    if run.other:
        run.expect("GET /vms/<another>", run.call("GET", f"/vms/{run.other}").status, 200)


def _nodes(answer):
    return [node for role in answer.json["SERVICE"]["roles"] for node in role["nodes"]]


CHECKS = (
    check_reading,
    check_authentication,
    check_bodies,
    check_updates,
    check_erasing,
    check_restrictions,
    check_routes,
    check_service,
)


def differences(endpoint, token, vm_id, other=""):
    """Run all checks and return (how many comparisons were made, what differed)."""
    run = Contract(endpoint, token, str(vm_id), str(other))
    answer = run.call("GET", "/vm")
    if answer.status != 200:
        return 1, [f"GET /vm as VM {vm_id}: status {answer.status}, {answer.text}"]
    run.tidy()
    before = run.template()
    for name, value in before.items():
        if isinstance(value, str) and value.endswith("\\"):
            return 1, [f"{name} holds {value!r}, on which every erase breaks: change it first"]
    for check in CHECKS:
        try:
            check(run)
        except (KeyError, IndexError, TypeError, ValueError, OSError) as error:
            run.differences.append(f"{check.__name__} did not get through: {error!r}")
        finally:
            run.tidy()
    run.expect("USER_TEMPLATE after it all", run.template(), before)
    return run.checks, run.differences


def main():
    """Read where to ask from the environment: a token on a command line is everyone's to read."""
    missing = [name for name in ("ONEGATE", "TOKEN", "VMID") if not os.environ.get(name)]
    if missing:
        sys.exit(f"not set: {', '.join(missing)}; make contract ONEGATE=http://... TOKEN=... VMID=...")
    given = [os.environ.get(name, "") for name in ("ONEGATE", "TOKEN", "VMID", "OTHER_VMID")]
    checks, found = differences(*given)
    sys.stdout.write("\n".join([*found, f"{checks} comparisons, {len(found)} differences", ""]))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
