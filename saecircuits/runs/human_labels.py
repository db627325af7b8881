"""Labels that people write: a file of their own, with author and date, merged in when reading.

`labels.jsonl` holds one label a line; a later one of the same feature takes the place of an earlier
one, which stays in the file. Each names the dictionary that it was written for by digest, so that
it never names a feature of another one. Overwriting a run leaves the file where it is.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date as day
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from saecircuits.errors import InputError, UnknownNameError
from saecircuits.features.labels import FeatureLabel
from saecircuits.runs.folder import HUMAN_LABELS
from saecircuits.runs.records import CircuitRecord
from saecircuits.runs.storage import parse_json, plain, read_bytes, write_bytes
from saecircuits.schema import Count, Record

_LONGEST: Final = 200


class HumanLabel(Record):
    """What somebody says that a feature means.

    Attributes:
        site: hook name of the dictionary.
        feature: index in the dictionary.
        dictionary: its digest.
        text: the label.
        author: who wrote it.
        date: when, as year-month-day.
    """

    site: str
    feature: Count
    dictionary: str
    text: str
    author: str
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")


def add_label(
    folder: Path,
    record: CircuitRecord,
    node: str,
    text: str,
    *,
    author: str,
    date: str | None = None,
) -> HumanLabel:
    """Appends a label to the run's `labels.jsonl`.

    Args:
        record: of that run.
        node: id of a feature node; the label is its feature's, at every token. The place
            (`@name`) may be left out.
        date: year-month-day; today if None.

    Raises:
        InputError: no id of a feature, an empty or very long text, no author, or a date of another
            form.
        UnknownNameError: a site without a dictionary.
        RunFolderError: the folder cannot be written to.
    """
    site, _, member = node.partition("@")[0].rpartition(".")
    if not (site and member.startswith("f") and member[1:].isdecimal()):
        raise InputError(
            f"{node!r} is no feature; labels are of features, such as "
            "'blocks.1.hook_resid_post.f217@name'"
        )
    dictionaries = record.dictionaries
    if site not in dictionaries:
        raise UnknownNameError("site with a dictionary", site, dictionaries)
    if not text.strip() or len(text) > _LONGEST:
        raise InputError(f"the label has {len(text)} characters; write 1 to {_LONGEST}")
    if not author.strip():
        raise InputError("the label has no author; say who wrote it")
    try:
        when = day.today() if date is None else day.fromisoformat(date)
    except ValueError:
        raise InputError(f"the date is {date!r}; write year-month-day") from None
    label = HumanLabel(
        site=site,
        feature=int(member[1:]),
        dictionary=str(dictionaries[site]),
        text=text.strip(),
        author=author.strip(),
        date=when.isoformat(),
    )
    path = folder / HUMAN_LABELS
    before = read_bytes(path) if path.exists() else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    line = json.dumps(plain(label), sort_keys=True, ensure_ascii=False)
    write_bytes(path, before + line.encode("utf-8", errors="replace") + b"\n")
    return label


def read_human_labels(folder: Path) -> tuple[HumanLabel, ...]:
    """All labels in the order in which they were written; none where there is no file.

    Raises:
        RunFolderError: a line that is no label.
    """
    path = folder / HUMAN_LABELS
    if not path.exists():
        return ()
    lines = read_bytes(path).split(b"\n")
    return tuple(
        parse_json(line, HumanLabel, path=path / f"line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )


def latest(
    human: Sequence[HumanLabel], dictionaries: Mapping[str, Any]
) -> dict[tuple[str, int], HumanLabel]:
    """The last label of each feature, by site and index.

    Args:
        dictionaries: digest by site; a label of another dictionary is passed by.
    """
    return {
        (one.site, one.feature): one
        for one in human
        if dictionaries.get(one.site) == one.dictionary
    }


def merged(
    labels: Sequence[FeatureLabel],
    human: Sequence[HumanLabel],
    dictionaries: Mapping[str, Any],
) -> tuple[FeatureLabel, ...]:
    """The labels with those that people wrote in their place; see `latest`."""
    written = latest(human, dictionaries)
    known = {(label.site, label.feature) for label in labels}
    bare = [_bare(one) for place, one in written.items() if place not in known]
    return tuple(
        _named(label, written.get((label.site, label.feature))) for label in (*labels, *bare)
    )


def _named(label: FeatureLabel, human: HumanLabel | None) -> FeatureLabel:
    if human is None:
        return label
    return label.model_copy(
        update={
            "text": human.text,
            "auto": False,
            "author": human.author,
            "date": human.date,
            "auto_text": label.text if label.auto else label.auto_text,
        }
    )


def _bare(human: HumanLabel) -> FeatureLabel:
    """Of a feature that was not looked at."""
    return FeatureLabel(
        site=human.site,
        feature=human.feature,
        text="",
        top_tokens=(),
        contexts=(),
        promoted=(),
        suppressed=(),
        density=0.0,
        n_tokens=0,
        examples=0,
    )
