"""The benchmark of peers gives all of them the same rows, counts every process, and writes its table."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
PAGE = FOLDER.parent / "docs" / "peers.md"


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("peers")


def result(peers, peer, **values):
    given = {"wall_s": 10.0, "round_s": 2.0, "cpu_s": 20.0, "server_mb": 400.0, "accuracy": 0.9}
    return peers.Result(peer=peer, **{**given, **values})


def test_the_rows_of_clients_and_server_are_apart_and_all_are_used(peers, tmp_path):
    peers.write_rows(tmp_path)
    names = [f"{kind}-{client}" for kind in ("train", "validation") for client in range(3)]
    rows = np.concatenate([np.load(tmp_path / f"{name}.npy") for name in [*names, "held-out"]])
    assert sorted(rows) == list(range(5000))
    assert Path(json.loads((tmp_path / "data.json").read_text())["images"]).is_file()


def test_ratios_and_table_are_of_medians(peers):
    found = [result(peers, "oneflower", wall_s=each) for each in (9.0, 10.0, 90.0)]
    found += [result(peers, "nvflare", wall_s=15.0)]
    assert peers.ratios(found, "wall_s") == {"nvflare": 1.5}
    assert "| oneflower up | 3 | 10.0 s | 2.0 s | 20.0 | 400 MB | 0.900 |" in peers.table(found)


def test_the_page_keeps_its_text_around_the_table(peers, tmp_path):
    page = tmp_path / "peers.md"
    page.write_text(PAGE.read_text())
    peers.write_page(page, [result(peers, "oneflower")])
    peers.write_page(page, [result(peers, "oneflower")])
    before = PAGE.read_text()
    assert page.read_text().count("| oneflower up |") == 1
    assert page.read_text().split(peers.BEGIN)[0] == before.split(peers.BEGIN)[0]
    assert page.read_text().split(peers.END)[1] == before.split(peers.END)[1]


ORPHAN = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        until = time.process_time() + 0.5
        while time.process_time() < until: pass
        open(sys.argv[1], "w").close()
        time.sleep(600)
    os._exit(0)
while not os.path.exists(sys.argv[1]): time.sleep(0.1)
"""


def test_orphans_are_counted_and_ended(tmp_path):
    out, finished = tmp_path / "out.json", tmp_path / "finished"
    command = [sys.executable, "-c", ORPHAN, str(finished)]
    measure = [sys.executable, str(FOLDER / "peers" / "measure.py"), str(out), "60", str(finished), "fork"]
    subprocess.run([*measure, *command], check=True, timeout=120)
    found = json.loads(out.read_text())
    assert found["code"] == 0
    assert found["cpu_s"] >= 0.5
    assert found["wall_s"] > 0
    assert found["server_mb"] > 1
