"""Names of nodes: ids in tables and files, and what they stand for in a spliced model.

Ids are unique, stable and readable: `blocks.1.hook_resid_post.f217@name` is feature 217 of the
dictionary at that site in the span `name`; `...error@name` its error node; `token@name` the token
embedding there; `metric` the sink.
"""

from collections.abc import Sequence
from typing import Final

from saecircuits.errors import InputError, UnknownNameError
from saecircuits.nodes.contrast import TOKENS
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.splicing import SplicedModel

METRIC: Final = "metric"


def node_id(model: SplicedModel, units: Sequence[str], spot: Spot) -> str:
    """The id of a node."""
    place = units[spot.unit]
    if spot.place == TOKENS:
        return f"token@{place}"
    what = "error" if spot.feature == ERROR else f"f{spot.feature}"
    return f"{model.hooks[spot.place]}.{what}@{place}"


def parse_node_id(model: SplicedModel, units: Sequence[str], node: str) -> Spot:
    """The node that an id stands for: the inverse of `node_id`.

    Raises:
        UnknownNameError: a site that is not spliced, or a unit that the prompts do not have.
        InputError: no id of a feature, error or token node.
    """
    what, _, unit = node.partition("@")
    hook, _, member = what.rpartition(".")
    is_feature = member.startswith("f") and member[1:].isdigit()
    if not (what == "token" or (hook and (is_feature or member == "error"))):
        raise InputError(
            f"{node!r} is no node id; ids look like 'blocks.1.hook_resid_post.f217@name', "
            "'blocks.1.hook_resid_post.error@name' or 'token@name'"
        )
    if unit not in units:
        raise UnknownNameError(f"span or position in node {node!r}:", unit, units)
    place = units.index(unit)
    if what == "token":
        return Spot(TOKENS, place, ERROR)
    index = model.index(hook)
    feature = int(member[1:]) if is_feature else ERROR
    if feature >= model.splices[index].dictionary.d_sae:
        raise InputError(
            f"node {node!r} asks for feature {feature}, but the dictionary at {hook!r} has "
            f"{model.splices[index].dictionary.d_sae}"
        )
    return Spot(index, place, feature)
