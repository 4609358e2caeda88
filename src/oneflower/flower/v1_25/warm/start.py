"""Start the warm executor from within a SuperNode's process, and be it."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from oneflower.flower import watch
from oneflower.flower.private import PrivateUse, check
from oneflower.flower.programs import LAUNCHER, WARM_EXECUTOR
from oneflower.flower.uncollected import uncollected

EVERY_INTERFACE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - it is what is avoided


def keep_running(listen_address: str) -> None:
    """Run the executor for as long as this process lives, for the API that listens on an address.

    A message that a dead executor had taken is answered for at once.
    """
    check(USE)
    # Imported here: the executor has none of the SuperNode's workarounds.
    from oneflower.flower.v1_25.workarounds.client_crash import give_up_running  # noqa: PLC0415

    host, _, port = listen_address.rpartition(":")
    command = [sys.executable, "-P", "-m", LAUNCHER, WARM_EXECUTOR, "--parent-pid", str(os.getpid())]
    command += ["--clientappio-api-address", f"{EVERY_INTERFACE.get(host, host)}:{port}"]
    watch.keep_running(command, name=WARM_EXECUTOR, on_end=give_up_running)


def run(argv: Sequence[str]) -> None:
    """Serve a SuperNode; does not return."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {LAUNCHER} {WARM_EXECUTOR}",
        description="Run a SuperNode's ClientApps in forked children of a warm process. The SuperNode is "
        "started with --isolation process.",
    )
    parser.add_argument(
        "--clientappio-api-address", default="127.0.0.1:9094", help="address of the SuperNode"
    )
    parser.add_argument("--flwr-dir", type=Path, help="folder where apps are installed; FLWR_HOME by default")
    parser.add_argument("--parent-pid", type=int, help="end when this process ends")
    arguments = parser.parse_args(argv)
    if arguments.parent_pid is None:
        check(USE)  # else the SuperNode has done so
    else:
        watch.die_with_parent(arguments.parent_pid)
        watch.look_after_parent(arguments.parent_pid)
    with uncollected():
        from flwr.common.config import get_flwr_dir  # noqa: PLC0415 - a SuperNode that starts it needs neither

        from oneflower.flower.v1_25.warm.executor import Executor  # noqa: PLC0415 - the same

    Executor(arguments.clientappio_api_address, get_flwr_dir(arguments.flwr_dir)).serve()


USE = PrivateUse(
    name="warm-executor",
    why="FL_WARM_EXECUTOR=YES runs ClientApps in forked children of a warm process, in place of Flower's "
    "superexec and flwr-clientapp. It makes the calls that those make, in their order, with their error "
    "replies: `executor.py` and `app.py` copy `run_superexec` and `run_clientapp`.",
    sources={
        "flwr.supercore.superexec.run_superexec": {"run_superexec": "b05a4a9ec550"},
        "flwr.supernode.runtime.run_clientapp": {
            "run_clientapp": "2fe22c9861cb",
            "pull_clientappinputs": "97d579f38c90",
            "push_clientappoutputs": "5e05de9590be",
        },
        "flwr.supernode.servicer.clientappio.clientappio_servicer": {"ClientAppIoServicer": "0457db8194b6"},
        "flwr.supernode.nodestate.in_memory_nodestate": {"CLIENT_APP_CRASHED_ERROR": "1006421e7fd6"},
        "flwr.supercore.heartbeat": {
            "HeartbeatSender": "27714c8e3512",
            "make_app_heartbeat_fn_grpc": "9d7fcfb97d08",
        },
        "flwr.common.config": {"get_flwr_dir": "2f7e59bbc816"},
        "flwr.common.constant": {"ErrorCode": "4889fc3e5b66"},
        "flwr.common.grpc": {"create_channel": "6d71819bdc98"},
        "flwr.common.inflatable": {
            "get_all_nested_objects": "409d9822fd87",
            "get_object_tree": "d247ce6d76fd",
            "iterate_object_tree": "34c0fe845619",
            "no_object_id_recompute": "1374cc3f64f1",
        },
        "flwr.common.inflatable_protobuf_utils": {
            "make_confirm_message_received_fn_protobuf": "5bf6af3230b9",
            "make_pull_object_fn_protobuf": "ad0c68745d41",
            "make_push_object_fn_protobuf": "b6397a1b128f",
        },
        "flwr.common.inflatable_utils": {
            "ObjectIdNotPreregisteredError": "3be87d376583",
            "inflate_object_from_contents": "93b98a2ea3f3",
            "pull_objects": "5673b3413241",
            "push_object_contents_from_iterable": "a7ceb2b44467",
        },
        "flwr.common.message": {"remove_content_from_message": "1e153b885ff8"},
        "flwr.common.retry_invoker": {
            "_make_simple_grpc_retry_invoker": "c42ffb6481f8",
            "_wrap_stub": "533d4cdff460",
        },
        "flwr.common.serde": {
            "context_from_proto": "2e9e072fb056",
            "context_to_proto": "a87564a4a204",
            "fab_from_proto": "c41452b39270",
            "message_from_proto": "adfc00f7b403",
            "message_to_proto": "257d477d3145",
            "run_from_proto": "a83a5f017f58",
        },
        "flwr.common.typing": {"Fab": "140aff940cdb", "Run": "884c0789477d"},
        "flwr.cli.install": {"install_from_fab": "e9d32b45b1f5"},
        "flwr.clientapp.client_app": {
            "ClientApp.__call__": "9ac8d938c6ee",
            "LoadClientAppError": "c2dce8f5e6fb",
        },
        "flwr.clientapp.utils": {"get_load_client_app_fn": "f41a7cbf3af3"},
        "flwr.proto.appio_pb2": {
            "ListAppsToLaunchRequest": "e3b0c44298fc",
            "ListAppsToLaunchResponse": "02d4e8cd1268",
            "PullAppInputsRequest": "23393bb5a0ed",
            "PullAppInputsResponse": "fcf13ab9c672",
            "PullAppMessagesRequest": "9cad60e1f1de",
            "PullAppMessagesResponse": "538c9076ed2a",
            "PushAppMessagesRequest": "617c4767a915",
            "PushAppMessagesResponse": "816caeb04fc0",
            "PushAppOutputsRequest": "ae8e44da4be3",
            "RequestTokenRequest": "5c3dcec72dc8",
            "RequestTokenResponse": "23393bb5a0ed",
        },
        "flwr.proto.clientappio_pb2_grpc": {"ClientAppIoStub.__init__": "e5e0f8b59db0"},
        "flwr.proto.heartbeat_pb2": {
            "SendAppHeartbeatRequest": "23393bb5a0ed",
            "SendAppHeartbeatResponse": "3c2bd97ec4ea",
        },
        "flwr.proto.message_pb2": {
            "Context": "aecef19af350",
            "Message": "608e62bf8a0f",
            "ObjectTree": "7ec5ec452c01",
        },
        "flwr.proto.node_pb2": {"Node": "8bd3e02a281e"},
    },
    when_used=True,
)
