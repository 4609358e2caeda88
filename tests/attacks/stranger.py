"""Another user of a cluster's machine: calls every API that a cluster has, and reads what can be read.

``python -m tests.attacks.stranger UID ADDRESSES FOLDER PIDS``: addresses separated by commas. Prints JSON.
"""

import contextlib
import encodings.idna  # noqa: F401 - nobody may not read the interpreter's folder later
import json
import os
import sys
from pathlib import Path

import grpc
from flwr.proto import clientappio_pb2, control_pb2, fleet_pb2, serverappio_pb2

APIS = {
    name: file.DESCRIPTOR.services_by_name[name]
    for name, file in (
        ("Control", control_pb2),
        ("ServerAppIo", serverappio_pb2),
        ("ClientAppIo", clientappio_pb2),
        ("Fleet", fleet_pb2),
    )
}
CALL_S = 3.0


def call_everything(address):
    """Call every method of the Control and AppIo APIs with an empty request; return the status of each."""
    found = {}
    # Through TLS as a stranger can: with the certificate that the server shows.
    with contextlib.ExitStack() as stack:
        channels = [stack.enter_context(grpc.insecure_channel(address))]
        with contextlib.suppress(OSError):
            if not address.startswith("unix:"):
                host, _, port = address.rpartition(":")
                import ssl

                pem = ssl.get_server_certificate((host, int(port)), timeout=CALL_S).encode()
                credentials = grpc.ssl_channel_credentials(pem)
                channels.append(stack.enter_context(grpc.secure_channel(address, credentials)))
        for service in ("Control", "ServerAppIo", "ClientAppIo"):
            for method in APIS[service].methods:
                path = f"/{APIS[service].full_name}/{method.name}"
                found[path] = sorted({status_of(channel, path) for channel in channels})
    return found


def status_of(channel, path):
    """Return how one call ends."""
    try:
        for _ in channel.unary_stream(path)(b"", timeout=CALL_S):
            return "OK"
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def readable(folder):
    """Return the files and folders below a folder that this user can read or list."""
    found = []
    for place in (folder, *folder.rglob("*")):
        with contextlib.suppress(OSError):
            if place.is_dir():
                list(place.iterdir())
            else:
                place.open("rb").close()
            found.append(str(place))
    return found


def main(argv):
    """Become the user, try everything, and print what happened."""
    import ssl  # noqa: F401

    uid, addresses, folder, pids = int(argv[0]), argv[1].split(","), Path(argv[2]), argv[3].split(",")
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    environments = []
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/environ").read_bytes()
            environments.append(pid)
    try:
        files = readable(folder)
    except OSError:
        files = []
    calls = {address: call_everything(address) for address in addresses}
    json.dump({"calls": calls, "files": files, "environments": environments}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
