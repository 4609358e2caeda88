"""Measure the dashboard's size and speed with 5 clients and 20 rounds, and with 200 clients and 1,000.

    python benchmarks/page.py [--json]

Needs the extra `dashboard`, playwright and Debian's chromium. Times are chromium's own: from the request to
the first picture, and from an event in the journal to the page that shows it. `fold_ms` is only the reading
of the journal; `answer_ms` and `whole_ms` are from the server's start to its first page, and to a complete
page.
"""

import argparse
import gzip
import importlib.util
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from oneflower.journal import read_journal, reduce
from oneflower.journal.events import RoundStarted
from oneflower.monitor.web.server import beside

SCENES = Path(__file__).resolve().parents[1] / "tests" / "browser" / "scenes.py"
CHROMIUM = "/usr/bin/chromium"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
REPEATS = 5
PAINT = """() => new Promise((resolve) => {
  const found = performance.getEntriesByName('first-contentful-paint')[0];
  if (found) resolve(found.startTime);
  new PerformanceObserver((list) => resolve(list.getEntries()[0].startTime))
    .observe({type: 'paint', buffered: true});
})"""


def scenes() -> Any:
    """Load the module that writes journals of artificial trainings."""
    spec = importlib.util.spec_from_file_location("scenes", SCENES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def served(journal: Path, done: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Serve a journal; return the address, and milliseconds to the first page and to a complete one."""
    began = time.monotonic()
    with beside(journal, journal.parent, 0) as address:
        page = fetch(address)
        answered = time.monotonic()
        while f"<dd>{done}<small>" not in page:
            time.sleep(0.02)
            page = fetch(address)
        took = {"answer_ms": 1000 * (answered - began), "whole_ms": 1000 * (time.monotonic() - began)}
        yield address, took


def fetch(address: str) -> str:
    """Return the page's text."""
    with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - our own server
        return str(answer.read().decode())


def weigh(address: str) -> dict[str, int]:
    """Return the bytes that a first visit transfers, compressed as the server does it."""
    page, script = fetch(address).encode(), fetch(f"{address}assets/page.js").encode()
    return {"bytes": len(page) + len(script), "packed": len(gzip.compress(page)) + len(gzip.compress(script))}


def open_page(browser: Browser, address: str) -> dict[str, float]:
    """Return milliseconds from the request to the first picture, and to the page being complete."""
    context = browser.new_context(viewport={"width": 1320, "height": 900})
    page = context.new_page()
    page.goto(address)
    first = page.evaluate(PAINT)
    loaded = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    context.close()
    return {"first_picture_ms": first, "loaded_ms": loaded}


def change(browser: Browser, address: str, scene: Any, number: int) -> float:
    """Return milliseconds from an event in the journal until the page shows it."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    page.locator("#link.on").wait_for()
    time.sleep(1.0)
    began = time.monotonic()
    scene.write(RoundStarted(round=number, rounds=scene.rounds, clients=3))
    while f"Round {number} of" not in page.locator("#doing").inner_text():
        page.wait_for_timeout(5)
    context.close()
    return 1000 * (time.monotonic() - began)


def measure(browser: Browser, clients: int, rounds: int) -> dict[str, float]:
    """Measure one size of training."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.jsonl"
        scene = scenes().large(journal, clients=clients, rounds=rounds, done=rounds - 3)
        began = time.monotonic()
        done = reduce(read_journal(journal)).done
        found: dict[str, float] = {"fold_ms": 1000 * (time.monotonic() - began)}
        with served(journal, done) as (address, took):
            found |= took | weigh(address)
            opened = [open_page(browser, address) for _ in range(REPEATS)]
            found |= {name: median(each[name] for each in opened) for name in opened[0]}
            changes = [change(browser, address, scene, rounds - 2 + each) for each in range(3)]
            found["change_ms"] = median(changes)
        return found


def main() -> None:
    """Measure both sizes side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        small = measure(browser, 5, 20)
        large = measure(browser, 200, 1000)
        browser.close()
    print(f"load average of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    print(f"{'':20}{'5 x 20':>12}{'200 x 1,000':>14}{'ratio':>9}")
    for name, value in small.items():
        print(f"{name:20}{value:12,.0f}{large[name]:14,.0f}{large[name] / value:9.1f}")
    if options.json:
        print(json.dumps({"ratios": {name: round(large[name] / value, 3) for name, value in small.items()}}))


if __name__ == "__main__":
    main()
