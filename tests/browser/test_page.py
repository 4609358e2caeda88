"""The live page in a real browser: it tells the truth, to everyone, without a complaint."""

import importlib.util
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from oneflower.codes import SupervisorState
from oneflower.journal.events import ClientFailed, RoundCompleted, TrainingGaveUp
from oneflower.monitor.web.access import Token
from oneflower.monitor.web.server import beside
from oneflower.quality import as_metrics

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

LOOKS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"width": 390, "height": 844, "device_scale_factor": 2, "has_touch": True},
}
# One rule of axe asks for a landmark around the skip link, which hides itself until it has the focus.
AXE = "() => axe.run(document, { rules: { region: { enabled: false } } })"

TOO_WIDE = """() => [...document.querySelectorAll("*")]
  .filter((each) => each.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .filter((each) => !each.closest(".scroll")).map((each) => each.outerHTML.slice(0, 120))"""


def problems(page, axe):
    # The policy of the page forbids scripts that are not its own; the debugger may run one all the same.
    page.evaluate(axe)
    found = page.evaluate(AXE)["violations"]
    return [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found]


@pytest.mark.parametrize("look", LOOKS)
def test_everyone_can_read_a_training_that_was_killed_and_resumed(look, resumed, serve, visit, axe):
    """No violation by axe-core (contrast, names, roles), no sideways scrolling, and a picture for people."""
    seen = visit(serve(resumed).url, **LOOKS[look])
    assert "resumed once" in seen.text("headline")
    assert "1 client is quarantined" in seen.text("attention")
    for details in seen.page.locator("details").all():
        details.locator("summary").first.click()
    assert problems(seen.page, axe) == []
    assert seen.page.evaluate(TOO_WIDE) == []
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    seen.picture(f"resumed-{look}-open")
    seen.page.reload()
    seen.waits_for("tiles", "verified")
    seen.picture(f"resumed-{look}")


@pytest.mark.parametrize("look", LOOKS)
def test_everyone_can_see_who_is_far_from_the_model(look, tmp_path, serve, visit, axe, scenes):
    """Two attackers of eleven: named in words, in a table and in colours that anyone can tell apart."""
    journal = tmp_path / "journal.jsonl"
    scenes.attacked(journal)
    seen = visit(serve(journal).url, **LOOKS[look])
    assert "2 clients are far from the model" in seen.text("attention")
    assert "2 clients are far from the model" in seen.text("updates")
    strips = seen.page.locator("#updates svg.heat")
    assert strips.count() == 11
    assert seen.page.locator("#updates .stand.warn").count() == 4
    assert problems(seen.page, axe) == []
    assert seen.page.evaluate(TOO_WIDE) == []
    seen.picture(f"attacked-{look}")


def test_the_five_questions_have_answers(resumed, serve, visit):
    seen = visit(serve(resumed).url)
    tiles = seen.text("tiles")
    assert "12 of 20" in tiles
    assert "since round 11" in tiles
    assert "done at about" in tiles
    assert "Round 13 of 20" in seen.text("doing")
    assert "2 of 5 clients have answered" in seen.text("doing")
    assert "NaN or infinity" in seen.text("clients")
    seen.waits_for("checkpoints", "verified")
    assert "2 rounds would be lost; its files are verified" in seen.text("checkpoints")
    assert "Training resumes after round 5 of 20" in seen.text("timeline")
    signs = seen.page.locator("#accuracy g .sign").all_text_contents()
    assert signs == ["↻", "✕"]
    assert seen.page.locator("#accuracy .again").count() == 1


def test_an_empty_state_says_so_and_fills_by_itself(tmp_path, serve, visit, scenes, axe):
    journal = tmp_path / "journal.jsonl"
    seen = visit(serve(journal).url)
    assert "No training yet" in seen.text("headline")
    assert problems(seen.page, axe) == []
    seen.picture("empty")
    scene = scenes.Scene(journal)
    scene.start()
    scene.round(1)
    seen.waits_for("tiles", "1 of 20")
    assert "oneflower/image-classification" in seen.text("headline")
    assert seen.page.title().startswith("1/20 ")


def test_the_supervisor_is_seen_in_every_state_it_passes_through(tmp_path, serve, visit, scenes, axe):
    """One page, open from before the start: what the supervisor does, waits for, why, and since when."""
    journal = tmp_path / "journal.jsonl"
    seen = visit(serve(journal).url)
    scene = scenes.Scene(journal)
    scene.supervise(SupervisorState.WAITING)
    seen.waits_for("doing", "waits for the SuperLink to answer")
    assert "Starting" in seen.text("headline")
    assert "No restart so far" in seen.text("doing")
    scene.supervise(SupervisorState.SUBMITTING)
    seen.waits_for("doing", "waits for the SuperLink to take the app")
    scene.start()
    scene.round(1, save=True)
    seen.waits_for("doing", "follows the run")
    gone = "the SuperLink has ended"
    scene.supervise(SupervisorState.LOST, gone)
    seen.waits_for("doing", "waits for what is left of the lost run to end")
    scene.time = datetime.now(UTC)
    scene.back_off(gone, losses=3, delay_s=60.0)
    seen.waits_for("doing", "pauses for 1 min 00 s, then tries again, due in ")
    assert f"Reason: {gone}" in seen.text("doing")
    assert "1 restart so far, 3 in a row without a completed round" in seen.text("doing")
    assert "resumes after round 1, its newest checkpoint" in seen.text("doing")
    assert "lost 3 times in a row" in seen.text("attention")
    assert problems(seen.page, axe) == []
    seen.picture("backing-off")
    scene.supervise(SupervisorState.GIVEN_UP, gone)
    scene.write(TrainingGaveUp(reason=gone, restarts=3))
    seen.waits_for("doing", "fix the cause, then start the training again")
    assert "Given up" in seen.text("headline")
    assert problems(seen.page, axe) == []
    scene.start()
    seen.waits_for("headline", "Starting")
    assert "has failed" not in seen.text("attention")
    scene.finish()
    seen.waits_for("doing", "is done: the training has finished")


def test_what_the_reader_does_survives_a_change(resumed, serve, visit, scenes):
    """Focus, an opened list and a selection stay where they are while rounds come in."""
    seen = visit(serve(resumed).url)
    page = seen.page
    page.locator("#rounds").locator("xpath=..").locator("summary").click()
    page.locator("#accuracy .reader").focus()
    page.keyboard.press("Home")
    scene = scenes.Scene(resumed)
    scene.round(13)
    seen.waits_for("tiles", "13 of 20")
    assert page.evaluate("document.activeElement.className").startswith("reader")
    assert page.locator("#accuracy .reader").get_attribute("aria-valuenow") == "1"
    assert page.locator("#rounds").is_visible()
    assert "13" in page.locator("#rounds tbody tr").first.inner_text()


def test_a_curve_is_read_with_the_keyboard(resumed, serve, visit):
    seen = visit(serve(resumed).url)
    page = seen.page
    reader = page.get_by_role("slider", name="Accuracy by round")
    reader.focus()
    assert reader.get_attribute("aria-valuetext").startswith("Round 12, server: 0.9")
    page.keyboard.press("Home")
    assert reader.get_attribute("aria-valuenow") == "1"
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert "training resumes after round 5" in reader.get_attribute("aria-valuetext")
    assert page.locator("#accuracy .readout").is_visible()
    seen.picture("resumed-readout")
    page.keyboard.press("Escape")
    assert not page.locator("#accuracy .readout").is_visible()


def test_light_and_dark_can_be_chosen_and_are_remembered(resumed, serve, visit):
    seen = visit(serve(resumed).url, color_scheme="light")
    page = seen.page
    dark = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(dark)
    for name in ("light", "dark"):
        page.locator("#theme").press("Enter")
        assert page.locator("#theme").inner_text() == f"Theme: {name}"
    assert page.evaluate(dark) != light
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_the_page_comes_back_after_the_server(resumed, serve, visit, scenes):
    server = serve(resumed)
    seen = visit(server.url)
    server.stop()
    seen.waits_for("link", "Connection lost")
    assert "12 of 20" in seen.text("tiles")
    seen.picture("connection-lost")
    scenes.Scene(resumed).round(13)
    server.start()
    seen.waits_for("tiles", "13 of 20")
    assert seen.text("link") == "Live"
    # Chromium writes each refused connection to the console; nothing else may be there.
    seen.complaints[:] = [said for said in seen.complaints if "ERR_" not in said]


def test_what_a_client_says_never_becomes_markup(tmp_path, serve, visit, scenes):
    """A client chooses its error texts and the names of its metrics."""
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    journal = tmp_path / "journal.jsonl"
    scene = scenes.Scene(journal)
    scene.start()
    scene.round(1)
    seen = visit(serve(journal).url)
    scene.write(ClientFailed(round=2, client=evil, reason=evil))
    measured = as_metrics({"central": {f"loss {evil}": 0.5}})
    scene.write(RoundCompleted(round=2, valid=1, seconds=1.0, metrics=measured))
    seen.waits_for("clients", "onerror")
    assert seen.page.locator("img").count() == 0
    assert "owned" not in seen.page.title()


def test_nothing_is_asked_of_another_machine(resumed, serve, visit, browser):
    server = serve(resumed)
    context = browser.new_context()
    asked = []
    context.on("request", lambda request: asked.append(request.url))
    context.new_page().goto(server.url)
    context.close()
    assert all(url.startswith((server.url, "data:")) for url in asked)


def test_a_reader_without_script_gets_the_training_too(resumed, serve, visit):
    seen = visit(serve(resumed).url, wait=False, java_script_enabled=False)
    assert seen.page.locator("#accuracy svg.canvas").is_visible()
    assert "12 of 20" in seen.text("tiles")


def test_a_thousand_rounds_of_two_hundred_clients(tmp_path, serve, visit, scenes, axe):
    """All of it is there; how fast is measured by benchmarks/page.py."""
    journal = tmp_path / "journal.jsonl"
    scenes.large(journal, rounds=1000, done=1000)
    server = serve(journal)
    seen = visit(server.url)
    seen.waits_for("tiles", "1000 of 1000")
    line = seen.page.locator("#accuracy polyline.line").first.get_attribute("points")
    assert len(line.split()) == 1000
    assert seen.page.locator("#clients tbody tr").count() == 200
    assert problems(seen.page, axe) == []
    seen.picture("large")


def test_the_picture_in_the_readme_is_of_this_page(browser):
    """Its words are the page's; `python tests/browser/picture.py docs/images/page.svg` draws it anew."""
    kept = (ROOT / "docs" / "images" / "page.svg").read_text(encoding="utf-8")
    spec = importlib.util.spec_from_file_location("picture", ROOT / "tests" / "browser" / "picture.py")
    picture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(picture)
    # Where a line breaks hangs on the fonts of a machine; what stands there does not.
    assert words(picture.picture(browser)) == words(kept)
    assert len(kept.encode()) < 150_000


def words(svg):
    texts = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return " ".join(each.text for each in texts).split()


def test_a_stranger_needs_the_token(resumed, serve, visit, axe, tmp_path):
    secret = tmp_path / "token"
    secret.write_text("7f3a9c51e08b6d240123\n")
    secret.chmod(0o600)
    server = serve(resumed, "--host", "0.0.0.0", "--token-file", str(secret))
    seen = visit(f"http://127.0.0.1:{server.port}/", wait=False)
    page = seen.page
    assert page.url.endswith("/login")
    assert problems(page, axe) == []
    page.get_by_label("Token").fill("wrong-wrong-wrong")
    page.get_by_role("button").click()
    page.get_by_role("alert").wait_for()
    seen.complaints.clear()  # the browser notes the 403
    page.get_by_label("Token").fill("7f3a9c51e08b6d240123")
    page.get_by_role("button").click()
    seen.waits_for("link", "Live")
    cookie = next(each for each in page.context.cookies() if each["name"].startswith("oneflower_session"))
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert "7f3a9c51e08b6d240123" not in json.dumps(page.context.cookies())


@pytest.mark.parametrize("from_elsewhere", [False, True], ids=["typed", "clicked in another page"])
def test_the_link_of_up_opens_the_page_and_does_not_stay_in_the_address(resumed, visit, from_elsewhere):
    with beside(resumed, resumed.parent, 0, token=Token.drawn("7f3a9c51e08b6d240123")) as link:
        address = link.partition("?")[0]
        if from_elsewhere:
            seen = visit(f"data:text/html,<a href='{link}'>the page</a>", wait=False)
            seen.page.get_by_role("link").click()
            seen.page.wait_for_url(f"{address}*/")
            seen.waits_for("link", "Live")
        else:
            seen = visit(link)
        assert re.fullmatch(f"{re.escape(address)}[0-9a-f]{{32}}/", seen.page.url)
        assert "7f3a9c51e08b6d240123" not in json.dumps(seen.page.context.cookies())
        seen.page.reload()
        seen.waits_for("link", "Live")
        assert visit(address, wait=False).page.url.endswith("/login")
        seen.page.goto("about:blank")  # the server ends before the page would notice


def test_an_open_page_of_an_earlier_start_says_that_it_needs_the_new_link(resumed, visit):
    with beside(resumed, resumed.parent, 0, token=Token.drawn("7f3a9c51e08b6d240123")) as link:
        seen = visit(link)
    seen.waits_for("link", "Connection lost")
    port = int(link.partition("127.0.0.1:")[2].partition("/")[0])
    with beside(resumed, resumed.parent, port, token=Token.drawn("240123e08b6d7f3a9c51")) as new:
        seen.waits_for("link", "open the link that it printed")
        seen.page.reload()
        assert seen.page.url == f"http://127.0.0.1:{port}/login"
        seen.page.goto(new)
        seen.waits_for("link", "Live")
        seen.page.goto("about:blank")
        seen.complaints.clear()  # the browser notes each 401 and refused connection
