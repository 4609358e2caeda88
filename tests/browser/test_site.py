"""The documentation site as a reader has it: files on a disk, in a browser without a network."""

import os
import subprocess
import sys

import pytest

from oneflower.settings import TABLE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def site(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=request.config.rootpath,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=True,
        timeout=120,
    )
    return folder


def test_the_search_works_from_files_alone(site, visit):
    seen = visit((site / "index.html").as_uri(), wait=False)
    requests = []
    seen.page.on("request", lambda request: requests.append(request.url))
    seen.page.reload()
    seen.page.locator("input[name=query]").click()
    seen.page.locator("input[name=query]").press_sequentially("FL_PROXIMAL_MU", delay=20)
    found = seen.page.locator(".md-search-result__link").first
    found.wait_for()
    assert found.get_attribute("href").startswith("file://")
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:", "about:"))] == []


def test_a_variable_is_reached_by_its_anchor(site, visit):
    name = TABLE[-1].name
    seen = visit(f"{(site / 'variables.html').as_uri()}#{name.lower()}", wait=False)
    assert seen.page.get_by_role("link", name=name, exact=True).first.is_visible()
    seen.picture("site-variables")
