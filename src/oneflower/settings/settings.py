"""The settings as every other part reads them: one typed field a variable."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, parsed and checked; a field is a variable's name without ``FL_``, in lower case.

    What each field means, its unit and its bounds stand in `oneflower.settings.table`, and a test holds
    the two equal. `min_fit_clients` and `min_available_clients` are the EFFECTIVE minimums: not below what
    the strategy needs to keep its guarantee. The `ssl_` fields hold base64 of PEM on one line, or nothing,
    in whatever form they were given.
    """

    flower_version: str
    use_case: str
    ml_framework: str
    base_model: str
    num_rounds: int
    strategy: str
    min_fit_clients: int
    min_evaluate_clients: int
    min_available_clients: int
    proximal_mu: float
    server_lr: float
    client_lr: float
    num_malicious: int
    trim_beta: float
    checkpoint_enabled: bool
    checkpoint_interval: int
    checkpoint_path: str
    checkpoint_keep: int
    resume: str
    round_timeout: int
    round_retries: int
    seed: int
    best_metric: str
    early_stop_rounds: int
    early_stop_delta: float
    target_metric_value: str
    warm_executor: bool
    flower_workarounds: bool
    flower_speedups: bool
    max_restarts: int
    fleet_api_address: str
    control_api_address: str
    isolation: str
    database: str
    log_level: str
    dashboard_address: str
    dashboard_token: str
    tls_enabled: bool
    ssl_ca_certfile: str
    ssl_certfile: str
    ssl_keyfile: str
    superlink_address: str
    node_config: str
    max_retries: int
    max_wait_time: int
