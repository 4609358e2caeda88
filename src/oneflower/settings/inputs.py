"""OpenNebula's USER_INPUTS, from the table."""

from oneflower.settings.variable import Kind, Variable


def user_input(variable: Variable) -> str:
    """Return the five parts of a USER_INPUTS string: ``O|number|Description||3``.

    Every variable is optional: OpenNebula applies no default, and the guest holds its own.
    """
    choices = ",".join(variable.choices) if variable.kind is Kind.LIST else ""
    return f"O|{variable.kind}|{variable.help}|{choices}|{variable.default_text}"
