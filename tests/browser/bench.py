"""How fast the page is: first paint, and from hover to picture, at 829 nodes and 40,000 edges.

    python -m tests.browser.bench

Prints milliseconds, median of several openings and nodes: for the view that the page opens with,
and with every node and edge drawn. Nothing is asserted: figures are of the machine too.
"""

import os
import shutil
import statistics
import tempfile
from pathlib import Path

from selenium import webdriver

from saecircuits.publication.report import write_page
from tests.browser.conftest import OPTIONS, as_page
from tests.browser.opened import Opened
from tests.publication.made import made_circuit

NODES, EDGES, UNITS = 829, 40_000, 12
OPENINGS, HOVERS = 5, 30
EVERYTHING = f"#nodes={NODES - UNITS - 1}&edges={EDGES}"
PAINT = """
const [first] = performance.getEntriesByType('paint')
  .filter((entry) => entry.name === 'first-contentful-paint');
return first ? first.startTime : null;
"""
HOVER = """
const [count, done] = arguments;
const marks = [...document.querySelectorAll('.front .node')];
const every = Math.max(1, Math.floor(marks.length / count));
const times = [];
const next = (place) => {
  if (times.length >= count || place >= marks.length) return done(times);
  const start = performance.now();
  marks[place].dispatchEvent(new PointerEvent('pointermove', { bubbles: true }));
  requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      times.push(performance.now() - start);
      next(place + every);
    };
    channel.port2.postMessage(0);
  });
};
setTimeout(() => next(0), 3000);
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "report.html"
        circuit = made_circuit(n_units=UNITS, n_layers=10, n_nodes=NODES - UNITS - 1, n_edges=EDGES)
        file.write_bytes(write_page(as_page(circuit, Path(name) / "run", "girl, woman | +She")))
        print(f"{NODES} nodes, {EDGES} edges: {file.stat().st_size / 1e6:.1f} MB")  # noqa: T201
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for option in OPTIONS:
            options.add_argument(option)
        service = webdriver.ChromeService(
            executable_path=shutil.which("chromedriver") or "", env=dict(os.environ)
        )
        driver = webdriver.Chrome(options=options, service=service)
        page = Opened(driver, Path(name))
        for words, fragment in (("as it opens", ""), ("everything drawn", EVERYTHING)):
            paints, readies = [], []
            for _ in range(OPENINGS):
                page.open(file, fragment=fragment, size=(1440, 900), dark=False)
                paints.append(page.wait(lambda: page.run(PAINT)))
                readies.append(float(page.run("return document.documentElement.dataset.ready")))
            hovers = driver.execute_async_script(HOVER, HOVERS)
            print(  # noqa: T201
                f"{words}: first paint {statistics.median(paints):.0f} ms (ready "
                f"{statistics.median(readies):.0f} ms); hover {statistics.median(hovers):.0f} ms, "
                f"slowest of {len(hovers)}: {max(hovers):.0f} ms"
            )
        driver.quit()


if __name__ == "__main__":
    main()
