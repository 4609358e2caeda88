"""The FL_* variables, each declared once; parser, errors, run-config and documents follow from the table."""

from oneflower.settings.app_keys import GivenKey, app_values, keys_of_texts
from oneflower.settings.authors import with_the_authors, with_the_authors_of
from oneflower.settings.context import parse_context, read_context, render_context
from oneflower.settings.namespace import declared, submitted
from oneflower.settings.resolve import Provenance, Resolution, checkpoint_key, resolve, resolve_for
from oneflower.settings.runconfig import (
    ENDING,
    RESUME,
    ROUNDS,
    STRATEGY,
    Change,
    differences,
    missing_keys,
    render_run_config,
    run_config,
    training_config,
    without_operational,
)
from oneflower.settings.sample_rules import require_sample
from oneflower.settings.settings import Settings
from oneflower.settings.sources import Notice, Source
from oneflower.settings.strategy_rows import APP_STRATEGY, STRATEGIES, rule_of
from oneflower.settings.table import (
    APP_CONFIG_KEYS,
    AUTHORS,
    BY_NAME,
    OPERATOR_SET,
    PEM_VARIABLES,
    TABLE,
    asked,
    form_default,
    read_by,
    strategy_rows,
    user_input,
)
from oneflower.settings.training import TrainingConfig
from oneflower.settings.use_cases import NO_USE_CASE, USE_CASES, UseCase, use_case_of, what_fits
from oneflower.settings.values import Value, as_text
from oneflower.settings.variable import Consumer, Role, Variable

__all__ = [
    "APP_CONFIG_KEYS",
    "APP_STRATEGY",
    "AUTHORS",
    "BY_NAME",
    "ENDING",
    "NO_USE_CASE",
    "OPERATOR_SET",
    "PEM_VARIABLES",
    "RESUME",
    "ROUNDS",
    "STRATEGIES",
    "STRATEGY",
    "TABLE",
    "USE_CASES",
    "Change",
    "Consumer",
    "GivenKey",
    "Notice",
    "Provenance",
    "Resolution",
    "Role",
    "Settings",
    "Source",
    "TrainingConfig",
    "UseCase",
    "Value",
    "Variable",
    "app_values",
    "as_text",
    "asked",
    "checkpoint_key",
    "declared",
    "differences",
    "form_default",
    "keys_of_texts",
    "missing_keys",
    "parse_context",
    "read_by",
    "read_context",
    "render_context",
    "render_run_config",
    "require_sample",
    "resolve",
    "resolve_for",
    "rule_of",
    "run_config",
    "strategy_rows",
    "submitted",
    "training_config",
    "use_case_of",
    "user_input",
    "what_fits",
    "with_the_authors",
    "with_the_authors_of",
    "without_operational",
]
