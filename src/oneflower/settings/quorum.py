"""How many clients and updates a round needs, as the settings and the strategy say."""

from typing import Protocol

from oneflower.aggregation import StrategySpec, pre_aggregated, spec_of
from oneflower.settings.strategy_rows import rule_of


class Quorum(Protocol):
    """What follows from the minimums and the strategy's bound; `TrainingConfig` has the fields."""

    __slots__ = ()

    strategy: str
    pre_aggregation: str
    min_fit_clients: int
    min_evaluate_clients: int
    min_available_clients: int
    clients_per_round: int

    def strategy_parameters(self) -> dict[str, float | int]:
        """Return the parameters of the selected strategy by field name."""

    @property
    def rule(self) -> StrategySpec:
        """The selected strategy, with FL_PRE_AGGREGATION before its rule."""
        return pre_aggregated(spec_of(rule_of(self.strategy)), self.pre_aggregation)

    @property
    def minimum_updates(self) -> int:
        """Valid updates with which the strategy keeps its promise."""
        return self.rule.minimum_updates(self.strategy_parameters())

    @property
    def quorum(self) -> int:
        """Valid updates that a round needs: the operator's minimum or the strategy's bound."""
        return max(self.min_fit_clients, self.minimum_updates)

    def quorum_after(self, quarantined: int) -> int:
        """Return the quorum of a round in which so many clients were quarantined.

        A quarantined client is one of the FL_NUM_MALICIOUS that the rule expects, and is not aggregated: the
        rule continues against the rest, f - quarantined. Without this, one client that sends NaN could stall
        a federation that has just as many clients as the bound asks for.
        """
        if self.min_fit_clients > self.minimum_updates:
            return self.min_fit_clients
        spec = self.rule
        return spec.minimum_updates(spec.after_quarantine(self.strategy_parameters(), quarantined))

    @property
    def most_updates(self) -> int:
        """How many clients a round has at least: those that are drawn, or those that must be connected."""
        return self.clients_per_round or self.min_available_clients

    @property
    def most_updates_by(self) -> str:
        """The variable that says so."""
        return "FL_CLIENTS_PER_ROUND" if self.clients_per_round else "FL_MIN_AVAILABLE_CLIENTS"

    @property
    def shown_clients(self) -> int:
        """Clients that a strategy waits for before it chooses: of a draw, as many as its quorum."""
        return self.quorum if self.clients_per_round else max(self.min_available_clients, self.quorum)

    @property
    def clients_needed(self) -> dict[str, int]:
        """Clients without which a round waits or fails, by the name of the variable that asks for them."""
        return {
            "FL_MIN_AVAILABLE_CLIENTS": self.min_available_clients,
            "FL_MIN_FIT_CLIENTS": self.min_fit_clients,
            "FL_MIN_EVALUATE_CLIENTS": self.min_evaluate_clients,
        }
