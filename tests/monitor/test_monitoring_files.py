"""What monitoring/ holds fits the metrics that exist."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

pytest.importorskip("prometheus_client")

from oneflower.monitor.metrics import names

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "monitoring"
METRIC = re.compile(r"\boneflower_[a-z_]+\b")


def dashboard():
    return json.loads((FOLDER / "grafana-dashboard.json").read_text())


def expressions(value):
    """Return every query that a Grafana dashboard holds, wherever it stands."""
    if isinstance(value, dict):
        own = [value[key] for key in ("expr", "query") if isinstance(value.get(key), str)]
        return own + [found for item in value.values() for found in expressions(item)]
    if isinstance(value, list):
        return [found for item in value for found in expressions(item)]
    return []


def rules():
    document = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def test_every_query_of_the_dashboard_names_metrics_that_exist():
    found = {name for query in expressions(dashboard()) for name in METRIC.findall(query)}
    assert len(found) > 15
    assert found <= names()


def test_every_metric_is_shown_somewhere():
    queries = " ".join([*expressions(dashboard()), *(rule["expr"] for rule in rules())])
    assert names() <= set(METRIC.findall(queries))


def test_every_alert_names_metrics_that_exist_and_says_what_to_do():
    for rule in rules():
        assert set(METRIC.findall(rule["expr"])) <= names()
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert {"summary", "description"} <= set(rule["annotations"])


def test_panels_do_not_overlap():
    taken = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


@pytest.mark.parametrize(
    "arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")]
)
def test_promtool_accepts_the_alerts_and_their_tests(arguments):
    tool = shutil.which("promtool") or str(ROOT / ".cache" / "promtool" / "promtool")
    if not Path(tool).exists():
        pytest.skip("promtool is not there: tests/browser/get-tools fetches it")
    checked = subprocess.run([tool, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_page_lists_every_metric():
    page = (ROOT / "docs" / "monitoring.md").read_text()
    assert names() <= set(METRIC.findall(page))
