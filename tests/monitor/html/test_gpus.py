"""The panel of the GPUs: there where a client said something of one, those in trouble first, bounded."""

import re

from oneflower.gpu.readings import Reading
from oneflower.journal import reduce
from oneflower.monitor.html.page import live_page, render
from oneflower.monitor.html.panels.gpus import MOST_SHOWN, gpus
from oneflower.monitor.html.report import render_report
from oneflower.monitor.state.safety import Safety

from ...making import BEGIN, entry
from ..gpu_events import BAD, FINE, SOME, STARTED, client


def rows(html):
    """Return the cells of each row as text."""
    found = re.findall(r"<tr>(.*?)</tr>", html.partition("<tbody>")[2])
    return [
        [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in found
    ]


def test_a_training_without_gpus_has_no_card():
    state = reduce([STARTED, entry("client_joined", client="7")])
    assert gpus(state) == ""
    assert "<h2>GPUs</h2>" not in live_page(render(state, Safety(), BEGIN, "1"))
    assert "<h2>GPUs</h2>" not in render_report(state)


def test_the_card_has_a_row_for_each_gpu_those_in_trouble_first():
    html = gpus(reduce(SOME))
    assert "4 GPUs of 4 clients, as of the last replies; 2 clients are in trouble." in html
    found = rows(html)
    assert [row[0].split()[0] for row in found] == ["edge-2", "edge-2", "edge-3", "edge-1", "edge-4"]
    assert found[0][1] == "1: NVIDIA H200"
    assert found[0][7] == (
        "◆ XID 31 (2 times), XID 79, 3 uncorrected memory errors, 91 °C, memory nearly full"
    )
    assert found[3][2:] == ["NVIDIA H200", "93 %", "60.0 GB (40 %)", "64 °C", "505 W", ""]


def test_a_client_without_a_usable_gpu_says_so():
    (row,) = rows(gpus(reduce(client(3, device="cpu"))))
    assert row[2] == "◆ the processor"


def test_what_a_gpu_cannot_tell_is_empty():
    (row,) = rows(gpus(reduce(client(1, Reading(index=0), device=""))))
    assert row[1:] == ["0", "not said", "", "", "", "", ""]


def test_of_many_gpus_a_few_rows_are_shown_and_the_rest_is_counted():
    many = [each for number in range(100) for each in client(number, FINE, FINE)]
    html = gpus(reduce([STARTED, *many, *client(777, BAD)]))
    assert len(rows(html)) == MOST_SHOWN
    assert rows(html)[0][0].startswith("edge-777")
    assert "Not shown: 77 clients more. The JSON has all." in html
    eight = [Reading(index=index) for index in range(8)]
    html = gpus(reduce([STARTED, *(each for number in range(4) for each in client(number, *eight))]))
    assert "Not shown: 8 GPUs more. The JSON has all." in html


def test_names_of_clients_and_devices_are_text():
    odd = "<script>alert(1)</script>"
    html = gpus(reduce(client(1, Reading(index=0, name=odd), device=odd, name=odd)))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 3
