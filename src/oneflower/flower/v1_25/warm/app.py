"""Load a ClientApp and run it on one message, with the error replies that Flower's own process makes."""

import fcntl
import os
from contextlib import contextmanager
from logging import ERROR
from pathlib import Path
from typing import TYPE_CHECKING

from flwr.app import Error
from flwr.cli.install import install_from_fab
from flwr.clientapp.client_app import ClientApp, LoadClientAppError
from flwr.clientapp.utils import get_load_client_app_fn
from flwr.common import Message, log
from flwr.common.constant import ErrorCode
from flwr.common.inflatable import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.common.inflatable_utils import inflate_object_from_contents
from flwr.common.message import remove_content_from_message
from flwr.common.serde import context_from_proto, context_to_proto, message_to_proto
from flwr.proto.message_pb2 import Context as ProtoContext

from oneflower.flower.calls.call import call_client
from oneflower.flower.v1_25.port import set_message_id
from oneflower.flower.v1_25.warm.exchange import Parcel, ParcelWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTEXT, MESSAGE, TREE = "context", "message", "tree"


def load_app(fab: bytes, *, fab_id: str, fab_version: str, fab_hash: str, flwr_dir: Path) -> ClientApp:
    """Install a FAB and import its ClientApp; whatever goes wrong in there is raised."""
    with _one_installs(flwr_dir):
        install_from_fab(fab, flwr_dir=flwr_dir, skip_prompt=True)
    load = get_load_client_app_fn(default_app_ref="", app_path=None, multi_app=True, flwr_dir=str(flwr_dir))
    return load(fab_id, fab_version, fab_hash)


def run_app(app: ClientApp, inputs: Parcel, message_id: str, outputs: ParcelWriter) -> None:
    """Run the app on the message in `inputs` and write its reply, as an error where the app raised one."""
    context = context_from_proto(ProtoContext.FromString(inputs[CONTEXT]))
    contents = {name: inputs[name] for name in inputs if name != CONTEXT}
    message = inflate_object_from_contents(message_id, contents)
    if not isinstance(message, Message):
        raise TypeError(f"expected a Message from the SuperNode, got {type(message).__name__}")
    set_message_id(message, message_id)
    write_reply(outputs, call_client(app, message, context))
    outputs.add(CONTEXT, context_to_proto(context).SerializeToString())
    outputs.close()


def write_reply(outputs: ParcelWriter, reply: Message) -> None:
    """Write a reply as run_clientapp.push_clientappoutputs sends it: head, object tree, objects."""
    set_message_id(reply, reply.object_id)
    outputs.add(MESSAGE, message_to_proto(remove_content_from_message(reply)).SerializeToString())
    with no_object_id_recompute():
        outputs.add(TREE, get_object_tree(reply).SerializeToString())
        for object_id, part in get_all_nested_objects(reply).items():
            outputs.add(object_id, part.deflate())


def error_of(error: BaseException) -> Error:
    """Return the error that Flower replies with (run_clientapp.py:139); why an import failed is added."""
    log(ERROR, "ClientApp raised an exception", exc_info=error)
    if isinstance(error, LoadClientAppError):
        reason = "An exception was raised when attempting to load `ClientApp`"
        if error.__cause__ is not None:
            reason += f": {_words(error.__cause__)}"
        return Error(code=ErrorCode.LOAD_CLIENT_APP_EXCEPTION, reason=reason)
    return Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=_words(error))


def _words(error: BaseException) -> str:
    """Return an exception as Flower writes it in an error reply."""
    return f"{type(error)}:<'{error}'>"


@contextmanager
def _one_installs(flwr_dir: Path) -> "Iterator[None]":
    """Let one process at a time install: Flower takes a folder that exists for one that is complete."""
    flwr_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(flwr_dir / ".install.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
