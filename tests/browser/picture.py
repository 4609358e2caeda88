"""Draw the live page as an SVG that the README shows: text and shapes, in the reader's own light or dark.

    python tests/browser/picture.py docs/images/page.svg

The training is the one of the browser tests: its SuperLink was killed in round 9, one client sends NaN. Needs
the extra `dashboard`, playwright and Debian's chromium.
"""

import argparse
import importlib.util
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from playwright.sync_api import Browser, Page, sync_playwright

from oneflower.journal import read_journal, reduce
from oneflower.monitor.html.page import live_page, render
from oneflower.monitor.state.safety import Inspector

HERE = Path(__file__).parent
CHROMIUM = "/usr/bin/chromium"
WIDTH = 1180
SCHEMES = ("light", "dark")
CLEAR = "rgba(0, 0, 0, 0)"
FONT = 'system-ui, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif'
MONO = 'ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace'
# The part below this card is longer than a README bears.
LAST_CARD = "#clients"


def html(folder: Path) -> str:
    """Return the page of a training with a kill and a quarantined client, in its thirteenth round."""
    spec = importlib.util.spec_from_file_location("scenes", HERE / "scenes.py")
    scenes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scenes)
    journal = folder / "journal.jsonl"
    scenes.killed_and_resumed(journal)
    view = reduce(read_journal(journal))
    safety = Inspector(folder / "checkpoints").look(view, prove=True)
    return live_page(render(view, safety, view.last_time + timedelta(seconds=2), "1"))


def take_apart(page: Page, scheme: str) -> dict:
    """Return what is drawn in one colour scheme."""
    page.emulate_media(color_scheme=scheme)
    last = f"document.querySelector('{LAST_CARD}').closest('section')"
    limit = page.evaluate(f"{last}.getBoundingClientRect().bottom")
    return {"height": limit + 16} | page.evaluate(f"({(HERE / 'picture.js').read_text()})({limit})")


class Colours:
    """Gives each pair of a light and a dark colour a class."""

    def __init__(self) -> None:
        self.classes: dict[tuple[str, str, str], str] = {}

    def of(self, kind: str, ops: tuple[dict, dict]) -> str:
        """Return the class by which ``fill`` or ``stroke`` is right in both schemes."""
        pair = tuple(op[kind] if op[kind] != CLEAR else "none" for op in ops)
        if pair == ("none", "none"):
            return "" if kind == "stroke" else "n"
        return self.classes.setdefault((kind, *pair), f"c{len(self.classes)}")

    def style(self) -> str:
        """Return the style sheet."""
        light = "".join(f".{name}{{{kind}:{light}}}" for (kind, light, _), name in self.classes.items())
        dark = "".join(f".{name}{{{kind}:{dark}}}" for (kind, _, dark), name in self.classes.items())
        return f".n{{fill:none}}{light}@media(prefers-color-scheme:dark){{{dark}}}"


def number(value: float) -> str:
    """Return a number as short as a picture needs it."""
    text = f"{value:.2f}" if abs(value) >= 0.01 else f"{value:.5f}"
    return text.rstrip("0").rstrip(".")


def attributes(given: dict[str, object]) -> str:
    """Return attributes as text; those without a value are left out."""
    return "".join(
        f" {name}={quoteattr(number(value) if isinstance(value, int | float) else str(value))}"
        for name, value in given.items()
        if value not in (None, "", "none", "normal")
    )


def element(op: dict, colours: str) -> str:
    """Return one op as an element."""
    if op["kind"] == "rect":
        half = op["strokeWidth"] / 2
        place = {"x": op["x"] + half, "y": op["y"] + half}
        size = {"width": op["width"] - 2 * half, "height": op["height"] - 2 * half, "rx": op["rx"] or None}
        return f"<rect{attributes({'class': colours, **place, **size})}/>"
    if op["kind"] == "words":
        text = op["text"].rstrip()
        given = {"x": op["x"], "y": op["y"], "font-size": op["size"], "textLength": op["width"]}
        weight = op["weight"] if op["weight"] != "400" else None
        family = MONO if op["mono"] else None
        shown = attributes({"class": colours, **given, "font-weight": weight, "font-family": family})
        return f"<text{shown}>{escape(text)}</text>"
    return _shape(op, colours)


def _shape(op: dict, colours: str) -> str:
    matrix = [*op["matrix"]]
    plain = matrix[:4] == [1, 0, 0, 1]
    move = f"translate({number(matrix[4])} {number(matrix[5])})"
    given = {
        "class": colours,
        "transform": move if plain else f"matrix({' '.join(f'{each:.6g}' for each in matrix)})",
        **op["attributes"],
        "opacity": None if op["opacity"] == "1" else float(op["opacity"]),
    }
    if op["stroke"] not in ("none", CLEAR):
        given |= {
            "stroke-width": op["strokeWidth"],
            "stroke-dasharray": op["dash"],
            "vector-effect": "non-scaling-stroke" if op["fixed"] else None,
            "stroke-linecap": op["cap"] if op["cap"] != "butt" else None,
            "paint-order": op["order"],
        }
    if op["text"] is None:
        return f"<{op['tag']}{attributes(given)}/>"
    given |= {"font-size": op["size"], "text-anchor": op["anchor"] if op["anchor"] != "start" else None}
    given |= {"dominant-baseline": op["baseline"] if op["baseline"] != "auto" else None}
    return f"<text{attributes(given)}>{escape(op['text'])}</text>"


def draw(light: dict, dark: dict) -> str:
    """Return the SVG of two pages that differ in their colours alone."""
    colours = Colours()
    ground = colours.of("fill", ({"fill": light["ground"]}, {"fill": dark["ground"]}))
    drawn = [f'<rect width="100%" height="100%" class="{ground}"/>']
    for ops in zip(light["ops"], dark["ops"], strict=True):
        classes = filter(None, (colours.of("fill", ops), colours.of("stroke", ops)))
        drawn.append(element(ops[0], " ".join(classes)))
    size = f'viewBox="0 0 {WIDTH} {light["height"]:.0f}" width="{WIDTH}" height="{light["height"]:.0f}"'
    title = "The live page of a training that was killed and went on, with a client that is quarantined"
    style = f"text{{font-family:{FONT};white-space:pre}}{colours.style()}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{title}</title>'
    return "\n".join([f"{head}<style>{style}</style>", *drawn, "</svg>", ""])


def picture(browser: Browser) -> str:
    """Return the picture of the page as it is now."""
    with tempfile.TemporaryDirectory() as folder:
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.set_content(html(Path(folder)))
        # The script that would say so stays out: it would tell times by how long ago they were.
        page.evaluate("link.className = 'link on', link.textContent = 'Live', theme.hidden = false")
        parts = [take_apart(page, scheme) for scheme in SCHEMES]
        page.close()
    return draw(*parts)


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        drawn = picture(browser)
        browser.close()
    file.write_text(drawn, encoding="utf-8")
    sys.stdout.write(f"{len(drawn.encode())} bytes\n")


if __name__ == "__main__":
    main()
