"""Words that depend on a number: 1 client is, 2 clients are."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun; the plural is that with an s unless it is given."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def are(number: int) -> str:
    """Return the verb for so many."""
    return "is" if number == 1 else "are"


def were(number: int) -> str:
    """Return the verb for so many, of what was."""
    return "was" if number == 1 else "were"


def have(number: int) -> str:
    """Return the verb for so many that did something."""
    return "has" if number == 1 else "have"
