"""Direct effects without autograd: the factorised engine.

The same edges as `edges.reference`, from one cached forward pass. A target's cotangent is a vector
at its own token, and stays one through the MLP and the norms; attention alone moves it to other
tokens, through heads that are d_head wide. So:

1. the run is taken apart (`splicing.anatomy`);
2. targets become rows, one vector per active token (`rows`);
3. each row walks back over the stations of its way, from its site to the nearest cut of the whole
   stream: sites hand over their sources, MLPs and norms apply their vector-Jacobian products, and
   an attention layer is crossed into its heads (`attention`);
4. at every site rows meet the sources (`meeting`), which were projected into the same
   heads once for all rows (`sources`).

Where dictionaries cut the stream at every layer, nothing is ever dense in targets, tokens and
d_model. A way that passes another MLP or attention layer after one has been crossed is followed as
exactly, with a vector at every token between the first source and the target from there on: an
attention layer adds up its tokens inside the heads, so that a block costs each vector one product
per weight (`spread`). `covers` says what stands against a model; then
`edges.reference` is the engine to take.
"""

from collections.abc import Iterator, Sequence
from copy import copy

import torch

from saecircuits.edges.blocks import EdgeBlock
from saecircuits.edges.factorised.walk import Met, Walk
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.estimators import PlaceGradient
from saecircuits.nodes.interventions import Spot
from saecircuits.nodes.units import Units
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.anatomy import NotCoveredError, take_apart
from saecircuits.splicing.operators import FULL


def covers(model: SplicedModel) -> str | None:
    """None if the engine is exact for this model and these sites; otherwise what stands against it.

    Runs the model on a few tokens, to see that its weights reproduce its activations.
    """
    for index, hook in enumerate(model.hooks):
        if len(model.reach(index)) > 1:
            return f"features at {hook} write at later sites too"
    size = min(7, model.n_ctx)
    tokens = torch.arange(2 * size, device=model.device) % int(model.bridge.cfg.d_vocab)
    try:
        take_apart(model, tokens.unflatten(0, (2, size)), FULL)
    except NotCoveredError as error:
        return str(error)
    return None


class FactorisedEdges:
    """The factorised engine on one batch of prompts.

    Args:
        gradients: `dm/dx` at every place, from the estimator that ranks the nodes.
        sources: the nodes that edges begin at.
        is_split: also tell apart the components that carry each edge.
        readers: the units that targets are counted in; the contrast's own if None.
        share: where derivatives between places are taken: 1.0 at the clean run, less on the line on
            which all places move together from their baseline (`Contrast.between`).

    Raises:
        NotCoveredError: the model's weights do not reproduce what it computes; see `covers`.
    """

    def __init__(
        self,
        contrast: Contrast,
        gradients: dict[int, PlaceGradient],
        sources: Sequence[Spot],
        *,
        is_split: bool = True,
        readers: Units | None = None,
        share: float = 1.0,
    ) -> None:
        self._walk = Walk(contrast, sources, is_split=is_split, readers=readers, share=share)
        self._gradients = gradients

    def asleep(self) -> "FactorisedEdges":
        """The same engine for features as targets where they are off; see `EdgeEngine`."""
        other = copy(self)
        other._walk = self._walk.asleep()
        return other

    @torch.no_grad()
    def into(self, targets: tuple[Spot, ...] | None) -> Iterator[EdgeBlock]:
        """Every edge into some targets, all of one place, or into the metric (None)."""
        if targets is None:
            yield from (_block(None, met) for met in self._walk.back_from_metric())
            return
        for met in self._walk.back_from(targets, self._gradients[targets[0].place]):
            yield _block(targets, met)


def _block(targets: tuple[Spot, ...] | None, met: Met) -> EdgeBlock:
    return EdgeBlock(met.sources, targets, met.effects, met.weights, met.parts, met.part_effects)
