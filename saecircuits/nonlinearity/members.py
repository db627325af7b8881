"""Members of a game, by name: nodes of a graph, or components of the model."""

from collections.abc import Sequence
from typing import TypeAlias

from saecircuits.errors import InputError
from saecircuits.nodes.baselines import Baseline
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.interventions import Spot
from saecircuits.nonlinearity.component_game import check_component_game, component_stages
from saecircuits.nonlinearity.node_game import Rest, node_stages
from saecircuits.nonlinearity.walk import Stage
from saecircuits.splicing.components import Component, is_component, parse_component

Members: TypeAlias = tuple[Spot, ...] | tuple[Component, ...]
MOST = 128


def parse_members(experiment: Experiment, names: Sequence[str]) -> Members:
    """The nodes or components of these names.

    Raises:
        InputError: fewer than one or more than 128 names, one given twice, nodes together with
            components, or a name of neither.
    """
    check_count(len(names))
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"member {twice[0]!r} is given more than once")
    components = [name for name in names if is_component(name)]
    if not components:
        return tuple(experiment.spot(name) for name in names)
    if len(components) < len(names):
        other = next(name for name in names if name not in components)
        raise InputError(
            f"{components[0]!r} is a component and {other!r} a node; a game is of one or the other"
        )
    return tuple(parse_component(experiment.model, name) for name in names)


def check_count(count: int) -> None:
    """Raises InputError for too few members, or too many."""
    if not 1 <= count <= MOST:
        raise InputError(f"a game takes 1 to {MOST} members, found {count}")


def check_members(members: Members, baseline: str | Baseline, policy: str) -> None:
    """Raises InputError for a game that has no meaning."""
    components = [member for member in members if isinstance(member, Component)]
    if components:
        check_component_game(components, baseline, policy)


def stages_of(
    contrast: Contrast, members: Members, rest: Rest, baseline: str | Baseline
) -> list[Stage]:
    """The stages of the game on one batch of prompts."""
    components = [member for member in members if isinstance(member, Component)]
    if components:
        return component_stages(contrast, components, rest, baseline)
    spots = [member for member in members if isinstance(member, Spot)]
    return node_stages(contrast, spots, rest)
