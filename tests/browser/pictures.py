"""The pictures of docs/report.md: the page as it opens, a feature opened, and a comparison.

saecircuits discover pronoun --out runs/pronoun
saecircuits discover pronoun --nodes 60 --method paths --out runs/other
python -m tests.browser.pictures runs/pronoun runs/other --out docs
"""

import argparse
import base64
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from selenium import webdriver

from saecircuits.runs.stored import read_run
from tests.browser.conftest import OPTIONS
from tests.browser.opened import Opened

SIZE = (1440, 900)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `report-light.png`, `report-dark.png`, `report-feature.png`, `report-compare.png`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("other", type=Path, help="the run that the first is compared with")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    given = parser.parse_args(arguments)
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for option in OPTIONS:
        options.add_argument(option)
    service = webdriver.ChromeService(shutil.which("chromedriver"), env=dict(os.environ))
    driver = webdriver.Chrome(options=options, service=service)
    page, file = Opened(driver, given.out), (given.run / "report.html").resolve()
    nodes = read_run(given.run).circuit.nodes
    strongest = nodes.loc[nodes["kind"] == "feature", "node"].iloc[0]
    try:
        page.open(file, fragment="", size=SIZE, dark=False)
        _save(page, given.out / "report-light.png")
        page.open(file, fragment="", size=SIZE, dark=True)
        _save(page, given.out / "report-dark.png")
        page.open(file, fragment=f"#node={strongest}", size=SIZE, dark=False)
        _save(page, given.out / "report-feature.png")
        page.open(file, fragment="#view=compare", size=SIZE, dark=False)
        other = (given.other / "report.html").resolve()
        driver.find_element("id", "other").send_keys(str(other))
        _save(page, given.out / "report-compare.png")
    finally:
        driver.quit()


def _save(page: Opened, path: Path) -> None:
    time.sleep(2)  # the weaker edges come in by and by
    shot = page.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    path.write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    main()
