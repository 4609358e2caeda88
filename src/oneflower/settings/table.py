"""Every variable, in the order in which an operator is asked for it."""

from collections.abc import Mapping
from types import MappingProxyType

from oneflower.settings.table_cluster import CLUSTER_TABLE
from oneflower.settings.table_stopping import STOPPING_TABLE
from oneflower.settings.table_training import STRATEGIES, TRAINING_TABLE
from oneflower.settings.variable import Variable

__all__ = ["BY_NAME", "RUN_CONFIG_VARIABLES", "STRATEGIES", "TABLE"]

TABLE: tuple[Variable, ...] = TRAINING_TABLE + STOPPING_TABLE + CLUSTER_TABLE
BY_NAME: Mapping[str, Variable] = MappingProxyType({variable.name: variable for variable in TABLE})
RUN_CONFIG_VARIABLES: Mapping[str, Variable] = MappingProxyType(
    {variable.run_config_key: variable for variable in TABLE if variable.run_config_key}
)
