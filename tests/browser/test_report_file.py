"""The report is one file that a browser opens from the disk, without a network and without a complaint."""

import pytest

from oneflower.journal import read_journal, reduce
from oneflower.monitor.html.report import write_report

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_opens_offline_and_everyone_can_read_it(scheme, resumed, tmp_path, visit, axe):
    report = tmp_path / "report.html"
    write_report(report, reduce(read_journal(resumed)))
    seen = visit(f"file://{report}", wait=False, offline=True, color_scheme=scheme)
    seen.page.evaluate(axe)
    found = seen.page.evaluate("() => axe.run(document, { rules: { region: { enabled: false } } })")
    assert [(each["id"], each["nodes"][0]["html"][:120]) for each in found["violations"]] == []
    assert seen.page.locator("#accuracy svg.canvas").is_visible()
    seen.picture(f"report-{scheme}")
