"""Every FL_* variable, declared once; parser, errors, run-config and documents follow from the table."""

from oneflower.settings.context import parse_context, read_context, render_context
from oneflower.settings.decisive import ENDING, RESUME, ROUNDS, Change, differences, without_operational
from oneflower.settings.inputs import asked, user_input
from oneflower.settings.resolve import Provenance, Resolution, resolve
from oneflower.settings.runconfig import APP_CONFIG_KEYS, render_run_config, run_config
from oneflower.settings.settings import Settings
from oneflower.settings.sources import Notice, Source
from oneflower.settings.table import BY_NAME, STRATEGIES, TABLE
from oneflower.settings.training import TrainingConfig, training_config
from oneflower.settings.use_cases import NO_USE_CASE, USE_CASES, UseCase, use_case_of, what_fits
from oneflower.settings.variable import Kind, Role, Value, Variable

__all__ = [
    "APP_CONFIG_KEYS",
    "BY_NAME",
    "ENDING",
    "NO_USE_CASE",
    "RESUME",
    "ROUNDS",
    "STRATEGIES",
    "TABLE",
    "USE_CASES",
    "Change",
    "Kind",
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
    "asked",
    "differences",
    "parse_context",
    "read_context",
    "render_context",
    "render_run_config",
    "resolve",
    "run_config",
    "training_config",
    "use_case_of",
    "user_input",
    "what_fits",
    "without_operational",
]
