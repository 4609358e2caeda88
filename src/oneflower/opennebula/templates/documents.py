"""YAML as the marketplace reads it: every scalar of a template is a string."""

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Indent lists below their key, and write long texts as blocks."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - an alias would be right, and unreadable
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def document(value: Any, *, comment: str = "") -> str:
    """Return one YAML document."""
    head = "---\n" + "".join(f"# {line}\n" for line in comment.splitlines())
    return head + yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
