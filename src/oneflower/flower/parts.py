"""Partitions in messages: the ServerApp sends the table of partitions, a node finds its own in it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from logging import WARNING
from pathlib import Path

from oneflower.bounded_json import SMALL
from oneflower.errors import AppError
from oneflower.files import read_bytes
from oneflower.flower.api import ConfigRecord, Context, Message, UserConfig, log
from oneflower.parts import Part, Table, checked_table, part_of, read_table

PARTS_VARIABLE = "ONEFLOWER_PARTS"
"""The environment variable that names the file of the table; without it no partitions are assigned."""
MEMBERS = "partition-members"
"""The key of a message's config: member ids, of which the i-th has partition i."""
MEMBER = "member-id"
"""The key of a node's config: the id by which the table knows it."""


@dataclass(slots=True, kw_only=True)
class PartTable:
    """The table as it was last read; empty where no partitions are assigned."""

    path: Path | None = None
    members: Table = ()

    def look(self) -> bool:
        """Read the table again and return whether it has changed; one that cannot be read stays as it was."""
        if self.path is None:
            return False
        try:
            now = read_table(read_bytes(self.path, SMALL.most_bytes).decode("utf-8"))
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            log(WARNING, "parts not read path=%s reason=%s", self.path, error)
            return False
        changed, self.members = now != self.members, now
        return changed

    def into(self, config: ConfigRecord) -> ConfigRecord:
        """Return the config of a message with the table in it; the same object where there is none."""
        return ConfigRecord({**config, MEMBERS: list(self.members)}) if self.members else config


def handed_part(config: Mapping[str, object], node: Mapping[str, object]) -> Part | None:
    """Return the partition that a message's config assigns to a node; None where it assigns none.

    Raises
    ------
    AppError
        The table or the node's id is malformed.
    """
    if MEMBERS not in config or MEMBER not in node:
        return None
    member = node[MEMBER]
    if type(member) is not int or member < 0:
        raise AppError(f"{MEMBER} is {member!r}; expected a whole number from 0. FL_NODE_CONFIG has it")
    try:
        return part_of(checked_table(config[MEMBERS]), member)
    except ValueError as error:
        raise AppError(f"{MEMBERS} is no table of parts: {error}. The server sent it") from None


def with_part(node: UserConfig, part: Part | None) -> UserConfig:
    """Return a node's config with its assigned partition; the same object where there is none."""
    return node if part is None else {**node, "partition-id": part.index, "num-partitions": part.count}


def config_of(message: Message) -> Mapping[str, object]:
    """Return the config record of a message; empty where it has none."""
    return message.content.config_records.get("config", {}) if message.has_content() else {}


@contextmanager
def own_part(message: Message, context: Context, members: Sequence[int] = ()) -> Iterator[None]:
    """Show an app the partition that its message assigns, as `partition-id` and `num-partitions`.

    `members` is the table that came beside the app's own records; else the message's config may have one.

    Flower keeps the context for the next message, which may assign another partition or none: the node's own
    config is restored.
    """
    own = context.node_config
    table = {MEMBERS: list(members)} if members else config_of(message)
    context.node_config = with_part(own, handed_part(table, own))
    try:
        yield
    finally:
        context.node_config = own
