"""Ids that stand for several nodes, told apart: as many passes over the links as there are ends.

Writers list the links of a target in the order of the sources in the list of nodes. So a source
that shares its id lies between the nearest sources, before and behind it among the links of its
target, whose ids stand for one node each.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from saecircuits.errors import cut
from saecircuits.interchange.findings import SHOWN

Rows: TypeAlias = Sequence[Mapping[str, Any]]


def with_own_ids(
    nodes: Rows, links: Rows, *, is_reader: Callable[[Mapping[str, Any]], bool]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """Nodes and links in which every id stands for one node; how that came about in words.

    Args:
        is_reader: of a node: whether links may end in it.
    """
    places: dict[str, list[int]] = {}
    for place, node in enumerate(nodes):
        places.setdefault(node["node_id"], []).append(place)
    twice = {name: found for name, found in places.items() if len(found) > 1}
    renamed = [dict(node) for node in nodes]
    new_links = [dict(link) for link in links]
    if not twice:
        return renamed, new_links, []
    names = {place: node["node_id"] for place, node in enumerate(nodes)}
    for name, found in twice.items():
        for number, place in enumerate(found[1:], start=2):
            names[place] = renamed[place]["node_id"] = _free(f"{name}#{number}", places)
    readers = {
        name: [place for place in found if is_reader(nodes[place])] for name, found in twice.items()
    }
    lows = _nearest(links, places, range(len(links)), missing=-1)
    highs = _nearest(links, places, range(len(links) - 1, -1, -1), missing=len(nodes))
    turns, repeats = _turns(links)
    guessed = 0
    for number, link in enumerate(links):
        if link["target"] in twice:
            fitting = readers[link["target"]]
            guessed += len(fitting) != 1
            new_links[number]["target"] = names[(fitting or twice[link["target"]])[0]]
        if link["source"] in twice:
            choices = twice[link["source"]]
            start = bisect_right(choices, lows[number])
            fitting_count = bisect_left(choices, highs[number]) - start
            # One place to each where a link is there as often as places fit.
            is_shared_out = fitting_count == repeats[number]
            at = start + turns[number] if is_shared_out else start
            guessed += not (is_shared_out or fitting_count == 1)
            new_links[number]["source"] = names[choices[at if fitting_count > 0 else 0]]
    kinds = ", ".join(
        f"{cut(name, 60)!r} ({_kinds(nodes, found)})" for name, found in list(twice.items())[:SHOWN]
    )
    if len(twice) > SHOWN:
        kinds += f" and {len(twice) - SHOWN} more"
    sure = f"{guessed} of them could not be told apart and go to the first node"
    note = (
        f"{len(twice)} ids stood for several nodes: {kinds}. Later ones were renamed with '#2' and "
        "so on; links were given to the node that their order in the file names, "
        f"{sure if guessed else 'all of them surely'}."
    )
    return renamed, new_links, [note]


def _nearest(
    links: Rows, places: Mapping[str, Sequence[int]], order: Sequence[int], *, missing: int
) -> dict[int, int]:
    """For every link the nearest one before it, in this order, whose source is one node: its place.

    Only among the links of the same target that follow one another; `missing` where there is none.
    """
    found: dict[int, int] = {}
    target, nearest = None, missing
    for number in order:
        link = links[number]
        if link["target"] != target:
            target, nearest = link["target"], missing
        found[number] = nearest
        own = places[link["source"]]
        if len(own) == 1:
            nearest = own[0]
    return found


def _turns(links: Rows) -> tuple[list[int], list[int]]:
    """Of every link which one of its pair it is, from 0, and how many there are."""
    pairs = [(link["source"], link["target"]) for link in links]
    seen: Counter[tuple[str, str]] = Counter()
    turns = []
    for pair in pairs:
        turns.append(seen[pair])
        seen[pair] += 1
    return turns, [seen[pair] for pair in pairs]


def _kinds(nodes: Rows, places: Sequence[int]) -> str:
    shown = [str(nodes[place]["feature_type"]) for place in places[:SHOWN]]
    more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    return " and ".join(shown) + more


def _free(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "'"
    return name
