"""What is released: the wheels, small without the models and whole with theirs; the citation."""

import importlib.util
import os
import subprocess
import sys
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

import saecircuits as sc
from saecircuits.splicing.loading import read_manifest

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 3e6
ASK = """
import saecircuits as sc
from saecircuits.cli import main
import sys
print(sc.__file__)
try:
    model = sc.load_model("stories")
    print(model.name, *sc.model_names())
except sc.SaecircuitsError as error:
    print(error)
sys.argv = ["saecircuits", "models"]
try:
    main()
except SystemExit as stop:
    print("exit", stop.code)
"""


def _build(project: Path, folder: Path) -> Path:
    """The wheel of a project, built without a network."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed (extra dev)")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(
        [*command, "--directory", str(folder)], cwd=project, check=True, capture_output=True
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def code_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(ROOT, tmp_path_factory.mktemp("code"))


@pytest.fixture(scope="module")
def models_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(ROOT / "pretrained", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def site(code_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that the wheel of the code is installed in."""
    folder = tmp_path_factory.mktemp("site")
    with ZipFile(code_wheel) as wheel:
        wheel.extractall(folder)
    return folder


def _ask(elsewhere: Path, site: Path, *more: Path) -> tuple[list[str], str]:
    """Lines on stdout and all of stderr of a process that has the packages of some folders."""
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=elsewhere,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (site, *more))),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "100",
        },
        check=True,
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert Path(lines[0]).is_relative_to(site), "another saecircuits was imported"
    return lines[1:], done.stderr


def test_the_wheel_of_the_code_is_small_and_whole(code_wheel: Path) -> None:
    assert code_wheel.stat().st_size < LARGEST
    with ZipFile(code_wheel) as wheel:
        names = set(wheel.namelist())
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "saecircuits").rglob("*.py")}
    assert there <= names
    assert names >= {
        "saecircuits/py.typed",
        "saecircuits/publication/bundle/report.js",
        "saecircuits/publication/bundle/report.css",
        "saecircuits/publication/fonts/DejaVuSans.ttf",
        "saecircuits/publication/notebook/widget.js",
    }
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"saecircuits", f"saecircuits-{sc.__version__}.dist-info"}
    assert not [name for name in names if name.endswith((".safetensors", ".pyc"))]


def test_one_version_stands_everywhere(code_wheel: Path, models_wheel: Path) -> None:
    told = {}
    for path in (code_wheel, models_wheel):
        with ZipFile(path) as wheel:
            (name,) = (one for one in wheel.namelist() if one.endswith(".dist-info/METADATA"))
            told[path] = message_from_bytes(wheel.read(name))
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    (author,) = citation["authors"]
    assert citation["version"] == told[code_wheel]["Version"] == sc.__version__
    assert citation["license"] == "MIT"
    for one in told.values():
        assert one["Author"] == author["name"]
        assert one["License-Expression"] == citation["license"]
        assert one.get_all("License-File")
    assert told[code_wheel]["Summary"] == citation["abstract"]


def test_the_changelog_is_sorted() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = text.split("\n## ")[1:]
    assert releases[0].startswith(f"{sc.__version__} ")
    for release in releases:
        parts = [line for line in release.splitlines() if line.startswith("### ")]
        known = ["### Added", "### Changed", "### Deprecated", "### Removed", "### Fixed"]
        assert parts == [part for part in known if part in parts]
        first = release.partition("\n")[2].lstrip()
        assert first.startswith("### "), "a line stands before the first part"


def test_the_wheel_of_the_models_holds_what_their_manifests_list(models_wheel: Path) -> None:
    with ZipFile(models_wheel) as wheel:
        names = set(wheel.namelist())
    for model in ("stories", "stories-effects", "induction"):
        folder = ROOT / "pretrained" / model
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
        listed = read_manifest(folder)["files"]
        assert set(listed) <= files
        assert {f"saecircuits_models/{model}/{name}" for name in listed} <= names


@pytest.mark.slow
def test_without_the_models_their_names_are_refused_in_one_line(site: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("saecircuits_models") is not None:
        pytest.skip("saecircuits-models is installed here")
    lines, said = _ask(tmp_path, site)
    refusal, code = lines
    assert refusal.startswith("'stories' is no folder: no models are shipped with this")
    assert "`pip install ./pretrained`" in refusal
    assert code == "exit 2"
    assert said.count("\n") == 1
    assert "pip install ./pretrained" in said


@pytest.mark.slow
def test_with_the_wheel_of_the_models_they_are_found(
    site: Path, models_wheel: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    with ZipFile(models_wheel) as wheel:
        wheel.extractall(models)
    lines, _ = _ask(tmp_path, site, models)
    assert lines[0] == "stories induction stories stories-effects"
    assert any(line.startswith("stories: ") for line in lines)
    assert not any(line.startswith("exit") for line in lines)
