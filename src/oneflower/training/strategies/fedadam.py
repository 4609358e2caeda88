"""FedAdam."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from oneflower.aggregation import (
    AdamParameters,
    AdamState,
    Aggregate,
    AggregationError,
    Allocate,
    NDArray,
    Update,
    adam_step,
    form_of,
    initial_state,
    weighted_mean,
)
from oneflower.errors import CheckpointError
from oneflower.flower.api import ArrayRecord, ConfigRecord, Grid, Message
from oneflower.flower.api import strategy as flower
from oneflower.flower.records import array_views
from oneflower.training.strategies.base import OneflowerStrategy


class FedAdam(OneflowerStrategy, flower.FedAdam):
    """Adam on the server over the clients' mean change (Reddi et al. 2021).

    Flower never tells the clients their learning rate eta_l; here it is sent to them as "lr".
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._state: AdamState | None = None

    def parameters(self) -> dict[str, Any]:
        """Return both learning rates and Adam's constants."""
        return {
            "server-lr": self.eta,
            "client-lr": self.eta_l,
            "beta-1": self.beta_1,
            "beta-2": self.beta_2,
            "tau": self.tau,
        }

    def state_arrays(self) -> dict[str, NDArray]:
        """Return copies of both moments, as "m/<array>" and "v/<array>"; empty before the first round.

        Copies, because the next round steps them in place while a checkpoint may still be written.
        """
        if self._state is None:
            return {}
        moments = {"m": self._state.m, "v": self._state.v}
        return {f"{key}/{name}": array.copy() for key, m in moments.items() for name, array in m.items()}

    def load_state_arrays(self, state: Mapping[str, NDArray]) -> None:
        """Take up the moments of a checkpoint; with none of them Adam starts afresh.

        Raises
        ------
        CheckpointError
            The two moments do not belong together, or hold what no Adam step can have left.
        """
        m, v = (
            {name[2:]: np.array(array) for name, array in state.items() if name.startswith(prefix)}
            for prefix in ("m/", "v/")
        )
        _check_moments(m, v, len(state))
        self._state = AdamState(m=m, v=v) if m else None

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Configure the next round as Flower's FedAvg does, and send the clients' learning rate."""
        self._names = tuple(arrays)
        self.current_arrays = array_views(arrays)
        config["lr"] = self.eta_l
        # FedOpt's own step in between would copy the model to the same attribute.
        return flower.FedAvg.configure_train(self, server_round, arrays, config, grid)

    def _combine(self, server_round: int, updates: Sequence[Update], allocate: Allocate) -> Aggregate:
        current = self.current_arrays
        if current is None:
            raise AggregationError(
                "FedAdam has no current model; call configure_train before aggregate_train"
            )
        if self._state is None:
            self._state = initial_state(current)
        mean = weighted_mean(updates, allocate=allocate)
        parameters = AdamParameters(server_lr=self.eta, beta_1=self.beta_1, beta_2=self.beta_2, tau=self.tau)
        arrays = adam_step(current, mean.arrays, self._state, parameters, server_round)
        return Aggregate(arrays=arrays, used=mean.used)


def _check_moments(m: Mapping[str, NDArray], v: Mapping[str, NDArray], count: int) -> None:
    if form_of(m) != form_of(v) or 2 * len(m) != count:
        raise CheckpointError(
            f"the FedAdam state has {len(m)} arrays m/... and {len(v)} arrays v/... among {count}; expected "
            "pairs of one shape and dtype and nothing else: restore an older checkpoint"
        )
    for name in m:
        if np.isnan(m[name]).any() or not (v[name] >= 0).all():
            raise CheckpointError(
                f"the FedAdam state of {name!r} has NaN or a negative second moment; expected numbers that "
                "an Adam step leaves: restore an older checkpoint"
            )
