"""What the edges of a model will cost by either engine, predicted before either is made.

A vector that is carried through a block at one token meets every weight of the block once, whatever
the engine: 2 P FLOP for P weights. With B blocks between a target's site and the nearest site
before it that cuts the stream, on n prompts of t tokens, a target costs

    reference    2 P B t n             at every token of every prompt; twice that where thresholds
                                       are crossed, or where units hold several tokens
    factorised   P (1 + (B - 1) t / 2) n
                                       in prompts where it stands, half of them taken over all
                                       targets; at its own token in the first block, and from there
                                       on at half of the tokens, those before it. Twice that where
                                       thresholds are crossed: then it stands in all prompts

and once for all targets, three forward passes for autograd's graph or for the weights' check. The
factorised engine also takes the model apart, once to see that it can and once on the prompts. What
that costs beside products is fitted, in what the reference's products take the same time for:
`APART_WEIGHT` FLOP for every weight and `APART_BLOCK` for every block. Both engines then cost the
same for about 25 targets far apart, of a model of 5 million weights as of one of 135 million.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from saecircuits.edges.blocks import expandable
from saecircuits.edges.factorised.way import stations
from saecircuits.edges.thresholds import longest_unit
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.interventions import Spot
from saecircuits.splicing import SplicedModel

APART_WEIGHT: Final = 300.0
APART_BLOCK: Final = 2e8
# About the share of the prompts in which a target stands.
_STANDING: Final = 0.5


@dataclass(frozen=True)
class Work:
    """Edges that are asked for.

    Attributes:
        targets: nodes that edges end in.
        n_pos: tokens of a prompt.
        follows_sleeping: features are followed where they are off as well, across thresholds.
        is_single: targets are taken token by token.
    """

    targets: Sequence[Spot]
    n_prompt: int
    n_pos: int
    follows_sleeping: bool
    is_single: bool


def work_of(experiment: Experiment, targets: Sequence[Spot], *, crosses: bool) -> Work:
    """The edges into some targets, on all prompts.

    Args:
        crosses: derivatives are taken across thresholds.
    """
    model = experiment.model
    opens = any(s.dictionary.gate.off_at(s.dictionary) is not None for s in model.splices)
    return Work(
        expandable(experiment, targets),
        n_prompt=len(experiment.prompts),
        n_pos=experiment.prompts.clean_tokens.shape[1],
        follows_sleeping=crosses and opens,
        is_single=crosses or longest_unit(experiment.units) == 1,
    )


def by_reference(model: SplicedModel, work: Work) -> float:
    """FLOP of batched vector-Jacobian products, about."""
    shape = _Shape.of(model)
    vectors = work.n_prompt * work.n_pos
    times = (2 if work.follows_sleeping else 1) * (1 if work.is_single else 2)
    carried = sum(_blocks_before(model, spot.place) for spot in work.targets)
    graph = 3 * shape.n_layers
    return 2.0 * shape.block * vectors * (times * carried + graph)


def by_factorised(model: SplicedModel, work: Work) -> float:
    """FLOP of the factorised engine, about; with what taking the model apart costs beside them."""
    shape = _Shape.of(model)
    standing = work.n_prompt * (1.0 if work.follows_sleeping else _STANDING)
    carried = 0.0
    for spot in work.targets:
        blocks = _blocks_before(model, spot.place)
        carried += min(blocks, 1) + max(blocks - 1, 0) * work.n_pos / 2
    apart = shape.n_layers * APART_BLOCK + shape.all * APART_WEIGHT
    forward = 3 * shape.n_layers * work.n_prompt * work.n_pos
    return 2.0 * shape.block * (standing * carried + forward) + apart


@dataclass(frozen=True)
class _Shape:
    """Numbers of blocks, and of weights in a block and in all."""

    n_layers: int
    block: int
    all: int

    @classmethod
    def of(cls, model: SplicedModel) -> "_Shape":
        weights = model.n_weights
        cfg = model.bridge.cfg
        ends = 2 * int(cfg.d_vocab) * int(cfg.d_model)
        n_layers = model.n_layers
        return cls(n_layers, max(weights - ends, weights // 2) // n_layers, weights)


def _blocks_before(model: SplicedModel, place: int) -> int:
    """Blocks between a place and the nearest site before it that cuts the whole stream."""
    way = stations(model)
    own = next(i for i, one in enumerate(way) if place in (one.place, one.heads))
    blocks = 0
    for station in reversed(way[:own]):
        if station.kind in ("stream", "tokens"):
            break
        blocks += station.kind == "attention"
    return max(blocks, 1)
