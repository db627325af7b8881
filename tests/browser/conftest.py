"""A headless Chromium, and pages written from made-up circuits and opened from disk."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from saecircuits.circuits import Circuit
from saecircuits.publication.page_file import write_page
from saecircuits.publication.page_shape import PageData
from saecircuits.runs.records import CircuitRecord
from saecircuits.runs.writing import write_circuit
from tests.browser.opened import Opened
from tests.made import (
    fitted,
    made_circuit,
    made_dashboards,
    made_degrees,
    made_labels,
    made_report,
    page_of,
)

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


def _found(*names: str) -> str | None:
    return next((place for name in names if (place := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary = _found("chromium", "chromium-browser", "google-chrome")
    driver = _found("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium with its driver is installed (Debian: chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=driver, env=dict(os.environ))
    opened = webdriver.Chrome(options=options, service=service)
    downloads = tmp_path_factory.mktemp("downloads")
    opened.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)}
    )
    yield Opened(opened, downloads, logs=("browser", "performance"))
    opened.quit()


def as_page(circuit: Circuit, folder: Path, text: str) -> PageData:
    folder.mkdir(parents=True)
    write_circuit(folder, circuit)
    record = CircuitRecord.model_validate_json((folder / "circuit.json").read_bytes())
    labels = [
        label.model_copy(update={"auto": False, "author": "Ada", "auto_text": "old"})
        if label.feature % 2
        else label
        for label in made_labels(circuit, text)
    ]
    return page_of(
        circuit,
        labels,
        made_report(),
        dashboards=made_dashboards(circuit),
        degrees=made_degrees(),
        record=record,
        title=f"made {text}",
    )


@pytest.fixture
def opened(browser: Opened, tmp_path: Path) -> Callable[..., Opened]:
    """Opens the page of a made-up circuit."""

    def open_page(
        *,
        fragment: str = "",
        text: str = "girl, woman | +She",
        size: tuple[int, int] = (1440, 900),
        dark: bool = False,
        **sizes: int,
    ) -> Opened:
        given = {"n_nodes": 60, "n_edges": 500, "n_layers": 3, **sizes}
        file = tmp_path / "report.html"
        if not file.exists():
            page = as_page(fitted(made_circuit(**given)), tmp_path / "run", text)
            file.write_bytes(write_page(page))
        browser.open(file, fragment=fragment, size=size, dark=dark)
        return browser

    return open_page
