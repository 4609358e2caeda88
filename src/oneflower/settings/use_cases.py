"""The pre-built apps that FL_USE_CASE can name, and the framework and packages that each needs."""

from dataclasses import dataclass

NO_USE_CASE = "none"
"""FL_USE_CASE of a cluster without a pre-built app, for one of the operator's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCase:
    """A pre-built app: its framework, the packages that it needs, and oneflower's extras with them.

    An app whose model no other strategy can combine has its `own_strategy`.
    """

    name: str
    framework: str
    packages: tuple[str, ...]
    extras: str
    own_strategy: str = ""


PRE_BUILT = (
    UseCase(name="image-classification", framework="pytorch", packages=("torch",), extras="apps"),
    UseCase(name="anomaly-detection", framework="pytorch", packages=("torch",), extras="apps"),
    UseCase(
        name="llm-fine-tuning",
        framework="pytorch",
        packages=("torch", "transformers", "peft"),
        extras="apps,llm",
    ),
    UseCase(name="tabular-classification", framework="sklearn", packages=("sklearn",), extras="sklearn"),
    UseCase(
        name="xgboost-bagging",
        framework="xgboost",
        packages=("xgboost",),
        extras="xgboost",
        own_strategy="FedXgbBagging",
    ),
)
USE_CASES = (NO_USE_CASE, *(each.name for each in PRE_BUILT))
FRAMEWORKS = ("pytorch", "tensorflow", "sklearn", "xgboost", "jax", "any")
"""Values of ML_FRAMEWORK: what the image contains."""
DEFAULT_FRAMEWORK = "pytorch"
ANY_FRAMEWORK = "any"
"""No framework in the image: an app's own packages, or one that needs none."""


def use_case_of(name: str) -> UseCase | None:
    """Return the pre-built app of a name; None for an app of the operator's own."""
    return next((each for each in PRE_BUILT if each.name == name), None)


def framework_of(use_case: str, chosen: str) -> str:
    """Return the framework that is used: that of the pre-built app, else the one that was chosen."""
    app = use_case_of(use_case)
    return app.framework if app is not None else chosen


def contradicts(use_case: str, chosen: str) -> bool:
    """Whether ML_FRAMEWORK was chosen for another app. A form sends the default, which gives way."""
    return chosen not in {DEFAULT_FRAMEWORK, ANY_FRAMEWORK, framework_of(use_case, chosen)}


def own_strategy(use_case: str) -> str:
    """Return the strategy that a pre-built app must run with, which is its own; empty where each will do."""
    app = use_case_of(use_case)
    return app.own_strategy if app is not None else ""


def what_fits() -> str:
    """Return the table of apps and frameworks as text, with a column for each variable."""
    own = (NO_USE_CASE, "of the app", "an app of your own, with its own packages")
    rows = [(each.name, each.framework, f"pip install 'oneflower[{each.extras}]'") for each in PRE_BUILT]
    head = ("FL_USE_CASE", "ML_FRAMEWORK", "installed with (included in the appliances)")
    lines = [f"  {name:<24}{framework:<14}{with_}" for name, framework, with_ in (head, own, *rows)]
    return "\n".join(["Apps and frameworks:", *lines])
