"""What an operator can do about a round that has failed as often as it may."""

from oneflower.codes import RoundFailure
from oneflower.flower.refusals import LIMIT_VARIABLE
from oneflower.settings import TrainingConfig
from oneflower.words import counted, were


def advice(code: RoundFailure | None, config: TrainingConfig, *, silent: int, too_large: int) -> str:
    """Return what to do, as the beginning of a sentence.

    Parameters
    ----------
    silent, too_large
        How many clients were at work still at the end, and how many sent more than what is read.
    """
    if code is RoundFailure.NO_MODEL:
        return "Find the client that sends such an update and stop it"
    if silent:
        return (
            f"{counted(silent, 'client')} {were(silent)} connected and at work still when FL_ROUND_TIMEOUT "
            f"(now {config.round_timeout} s) was over: raise it above what a client takes"
        )
    if too_large:
        limit = config.max_update_mb or "0, which follows from the model"
        return (
            f"{counted(too_large, 'reply', 'replies')} {were(too_large)} larger than what is read: raise "
            f"{LIMIT_VARIABLE} (now {limit}) if that is the size of this app's replies"
        )
    return (
        "Mend the clients that the log names as failed or quarantined, or lower FL_MIN_FIT_CLIENTS (now "
        f"{config.min_fit_clients})"
    )
