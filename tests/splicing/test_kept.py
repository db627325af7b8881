"""Folders of the cache: there whole or not at all, and checked whenever they are taken."""

import json
import os
import time
from pathlib import Path

import pytest

from saecircuits.errors import ModelError
from saecircuits.splicing.kept import SUMS, cache, is_whole, kept


def _make(folder: Path) -> None:
    (folder / "words.txt").write_text("to be kept", encoding="utf-8")
    (folder / "numbers.txt").write_text("1 2 3", encoding="utf-8")


def _refuse(folder: Path) -> None:
    raise AssertionError("made again")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "one"


def test_a_folder_is_made_once(place: Path) -> None:
    assert not is_whole(place)
    assert kept(place, _make) == place
    assert is_whole(place)
    assert kept(place, _refuse) == place
    assert sorted(path.name for path in place.parent.iterdir()) == ["one"]
    assert set(json.loads((place / SUMS).read_text())) == {"words.txt", "numbers.txt"}


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "sums gone", "sums no JSON", "empty"])
def test_a_damaged_folder_is_made_anew(place: Path, damage: str) -> None:
    kept(place, _make)
    match damage:
        case "changed":
            (place / "words.txt").write_text("to be lost", encoding="utf-8")
        case "cut":
            (place / "words.txt").write_text("", encoding="utf-8")
        case "gone":
            (place / "words.txt").unlink()
        case "sums gone":
            (place / SUMS).unlink()
        case "sums no JSON":
            (place / SUMS).write_text("[1]", encoding="utf-8")
        case _:
            (place / SUMS).write_text("{}", encoding="utf-8")
    assert not is_whole(place)
    kept(place, _make)
    assert is_whole(place)
    assert (place / "words.txt").read_text(encoding="utf-8") == "to be kept"
    assert sorted(path.name for path in place.parent.iterdir()) == ["one"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ValueError("no")])
def test_what_stops_in_between_leaves_nothing(place: Path, failure: BaseException) -> None:
    def stop(folder: Path) -> None:
        _make(folder)
        raise failure

    with pytest.raises(type(failure)):
        kept(place, stop)
    assert list(place.parent.iterdir()) == []


def test_of_two_that_make_it_at_once_the_first_is_taken(place: Path) -> None:
    def make_while_another_does(folder: Path) -> None:
        _make(folder)
        kept(place, _make)
        os.utime(place, (1, 1))

    assert kept(place, make_while_another_does) == place
    assert place.stat().st_mtime == 1  # what the other made was left where it is
    assert is_whole(place)
    assert sorted(path.name for path in place.parent.iterdir()) == ["one"]


def test_of_two_that_mend_it_at_once_one_mends_it(place: Path) -> None:
    kept(place, _make)
    (place / "words.txt").unlink()

    def make_while_another_does(folder: Path) -> None:
        _make(folder)
        kept(place, _make)

    kept(place, make_while_another_does)
    assert is_whole(place)
    assert sorted(path.name for path in place.parent.iterdir()) == ["one"]


def test_what_a_killed_process_left_is_removed_a_day_later(place: Path) -> None:
    place.parent.mkdir()
    ages = {".making-old": 25 * 3600, ".making-new": 3600, "another": 25 * 3600}
    for name, age in ages.items():
        (place.parent / name).mkdir()
        then = time.time() - age
        os.utime(place.parent / name, (then, then))
    kept(place, _make)
    assert sorted(path.name for path in place.parent.iterdir()) == [".making-new", "another", "one"]


def test_a_cache_that_cannot_be_written_is_refused_in_one_line(place: Path) -> None:
    place.parent.write_text("a file in the way", encoding="utf-8")
    with pytest.raises(
        ModelError, match=r"cache .* cannot be written .*; set SAECIRCUITS_CACHE to"
    ):
        kept(place, _refuse)


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAECIRCUITS_CACHE", str(tmp_path))
    assert cache("gguf") == tmp_path / "gguf"
    monkeypatch.delenv("SAECIRCUITS_CACHE")
    assert cache("gguf").parts[-2:] == ("saecircuits", "gguf")
