"""What a run's folder says of its features: `features.json` and the dashboards in `features/`.

Labels that people wrote stand in a file of their own (`human_labels`); reading puts them in the
place of the automatic ones.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from saecircuits.features.dashboards import Dashboard
from saecircuits.features.labels import FeatureLabel
from saecircuits.runs.folder import FEATURES, LABELS
from saecircuits.runs.human_labels import HumanLabel, latest, merged, read_human_labels
from saecircuits.runs.opening import remove_features
from saecircuits.runs.records import read_record
from saecircuits.runs.storage import read_json, to_json, write_bytes, write_together
from saecircuits.schema import FORMAT, Record


class LabelsRecord(Record):
    """`features.json`: the automatic labels of the circuit's features."""

    format: Literal["saecircuits/1"] = FORMAT
    labels: tuple[FeatureLabel, ...]


def write_labels(folder: Path, labels: Sequence[FeatureLabel]) -> None:
    """Writes `features.json`.

    Raises:
        RunFolderError: the folder cannot be written to.
    """
    write_bytes(folder / LABELS, to_json(LabelsRecord(labels=tuple(labels)), indent=None))


def read_labels(folder: str | Path) -> tuple[FeatureLabel, ...]:
    """The automatic labels of the circuit's features.

    Raises:
        RunFolderError: missing, half-written, or with unknown keys.
    """
    return read_json(Path(folder) / LABELS, LabelsRecord).labels


def read_labels_if_any(folder: str | Path) -> tuple[FeatureLabel, ...]:
    """The labels, people's in the place of automatic ones; none where there are none.

    Raises:
        RunFolderError: a file of labels that is half-written, or with unknown keys.
    """
    path = Path(folder)
    automatic = read_labels(path) if (path / LABELS).exists() else ()
    return merged(automatic, read_human_labels(path), read_record(path).dictionaries)


def write_dashboards(folder: Path, dashboards: Sequence[Dashboard]) -> None:
    """Writes `features/`, and removes what was there of other features.

    Raises:
        RunFolderError: the folder cannot be written to.
    """
    remove_features(folder)
    if dashboards:
        (folder / FEATURES).mkdir(exist_ok=True)
        write_together(
            {folder / FEATURES / one.name: to_json(one, indent=None) for one in dashboards}
        )


def read_dashboards(folder: str | Path) -> tuple[Dashboard, ...]:
    """All dashboards of a run, people's labels in the place of automatic ones.

    None where there are none.

    Raises:
        RunFolderError: a file that is no dashboard, or a line that is no label.
    """
    place = Path(folder)
    found = [read_json(path, Dashboard) for path in sorted((place / FEATURES).glob("*.json"))]
    written = read_human_labels(place)
    human = latest(written, read_record(place).dictionaries) if found and written else {}
    return tuple(_named(board, human) for board in found)


def _named(board: Dashboard, human: Mapping[tuple[str, int], HumanLabel]) -> Dashboard:
    own = board.saecircuits
    label = human.get((own.site, own.feature))
    if label is None:
        return board
    change = {
        "label": label.text,
        "auto": False,
        "label_author": label.author,
        "label_date": label.date,
        "auto_label": own.label if own.auto else own.auto_label,
    }
    return board.model_copy(update={"saecircuits": own.model_copy(update=change)})
