"""OpenNebula's USER_INPUTS, from the table."""

from collections.abc import Iterable

from oneflower.settings.variable import Kind, Variable


def user_input(variable: Variable) -> str:
    """Return the five parts of a USER_INPUTS string: ``O|number|Label||3``.

    Every variable is optional: OpenNebula applies no default, and the guest holds its own.
    """
    choices = ",".join(variable.choices) if variable.kind is Kind.LIST else ""
    return f"O|{variable.kind}|{variable.label}|{choices}|{variable.default_text}"


def asked(variables: Iterable[Variable], *, all_inputs: bool = False) -> tuple[Variable, ...]:
    """Return the variables that a form asks for: the short form's, or all."""
    return tuple(variable for variable in variables if all_inputs or variable.in_form)
