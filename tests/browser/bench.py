"""How fast the page is at 829 nodes and 40,000 edges: first paint, hover, moving the picture.

    python -m tests.browser.bench

Prints milliseconds, of several openings and nodes: for the view that the page opens with, and with
every node and edge drawn; at the machine's own speed and with the page's thread slowed down four
times. The mouse is a real one, and an answer counts when the browser has shown it (event timing).
Nothing is asserted: figures are of the machine too, so its load is printed.
"""

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from selenium import webdriver

from saecircuits.publication.page_file import write_page
from tests.browser.conftest import OPTIONS, as_page
from tests.browser.opened import Opened
from tests.made import made_circuit

NODES, EDGES, UNITS = 829, 40_000, 12
OPENINGS, MOVES = 5, 30
EVERYTHING = f"#nodes={NODES - UNITS - 1}&edges={EDGES}"
PAINT = """
const [first] = performance.getEntriesByType('paint')
  .filter((entry) => entry.name === 'first-contentful-paint');
return first ? first.startTime : null;
"""
DRAWN = "return performance.getEntriesByName(arguments[0]).at(-1)?.startTime ?? null"
WATCH = """
window.shown = new Map();
new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries()) {
    window.shown.set(startTime, Math.max(duration, window.shown.get(startTime) ?? 0));
  }
}).observe({ type: 'event', durationThreshold: 16 });
window.frames_ = [];
let last = performance.now();
const frame = (now) => {
  window.frames_.push(now - last);
  last = now;
  requestAnimationFrame(frame);
};
requestAnimationFrame(frame);
"""
PLACES = """
return [...document.querySelectorAll('.front .node')].map((mark) => mark.getBoundingClientRect())
  .map((box) => [box.left + box.width / 2, box.top + box.height / 2])
  .filter(([x, y]) => document.elementFromPoint(x, y)?.closest('.node'));
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "report.html"
        circuit = made_circuit(n_units=UNITS, n_layers=10, n_nodes=NODES - UNITS - 1, n_edges=EDGES)
        file.write_bytes(write_page(as_page(circuit, Path(name) / "run", "girl, woman | +She")))
        say(f"{NODES} nodes, {EDGES} edges: {file.stat().st_size / 1e6:.1f} MB; "
            f"load of the machine {os.getloadavg()[0]:.1f}")  # fmt: skip
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for option in OPTIONS:
            options.add_argument(option)
        service = webdriver.ChromeService(
            executable_path=shutil.which("chromedriver") or "", env=dict(os.environ)
        )
        page = Opened(webdriver.Chrome(options=options, service=service), Path(name))
        for slower in (1, 4):
            page.driver.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": slower})
            for words, fragment in (("as it opens", ""), ("everything drawn", EVERYTHING)):
                say(f"{words}, {slower} x slower:" if slower > 1 else f"{words}:")
                measure(page, file, fragment)
        say(f"load of the machine {os.getloadavg()[0]:.1f}")
        page.driver.quit()


def measure(page: Opened, file: Path, fragment: str) -> None:
    """Opens the page several times, then hovers over nodes, over edges, and moves the picture."""
    paints, firsts, alls = [], [], []
    for _ in range(OPENINGS):
        page.open(file, fragment=fragment, size=(1440, 900), dark=False, seconds=60)
        paints.append(page.wait(lambda: page.run(PAINT)))
        firsts.append(page.wait(lambda: page.run(DRAWN, "edges-begun")))
        alls.append(page.wait(lambda: page.run(DRAWN, "edges-drawn"), seconds=60))
    say(f"  first paint {middle(paints)}, strongest edges {middle(firsts)}, all {middle(alls)}")
    places = page.run(PLACES)
    chosen = places[:: max(1, len(places) // MOVES)][:MOVES]
    between = [[x + 13, y + 29] for x, y in chosen]
    say(f"  hover over nodes {timed(page, chosen)}")
    say(f"  hover between nodes {timed(page, between)}")
    say(f"  moving the picture {dragged(page)} a frame")


def timed(page: Opened, places: list[list[float]]) -> str:
    """From a movement of the mouse to the picture that answers it."""
    page.run(WATCH)
    for x, y in places:
        page.mouse("mouseMoved", x, y)
        time.sleep(0.15)
    time.sleep(0.5)
    found = page.run("return [...window.shown.values()]") or [0]
    quick = max(0, len(places) - len(found))  # below 16 ms nothing is reported
    return f"{middle([*[8] * quick, *found])}, slowest of {len(places)}: {max(found):.0f} ms"


def dragged(page: Opened) -> str:
    """Time from frame to frame while the picture is dragged."""
    x, y = 900, 700
    page.mouse("mouseMoved", x, y)
    page.mouse("mousePressed", x, y)
    page.run(WATCH)
    for step in range(MOVES):
        page.mouse("mouseMoved", x - 4 * step, y - 3 * step)
        time.sleep(0.016)
    frames = page.run("return window.frames_.slice(1)")
    page.mouse("mouseReleased", x - 4 * MOVES, y - 3 * MOVES)
    return f"{middle(frames)}, slowest {max(frames):.0f} ms"


def middle(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ms"


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
