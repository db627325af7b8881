"""Learned masks: a number between 0 and 1 on every node, sparse and faithful together.

    mask = sigmoid(w / temperature)

in node ablation made continuous (`soft_ablation`). Over `steps` of Adam on w

    sum of masks / 100 + price * max(0, wanted - faithfulness of the masked model)

falls, batch of prompts by batch, while the temperature falls from 1 to 1/10 so that masks come to
be 0 or 1. While faithfulness is short of what is wanted a node pays for itself if it adds more than
`1 / (100 price)`; once it is reached only sparsity counts: so the result settles on a small circuit
at the wanted faithfulness, and its size needs no guess. Nodes are then ranked by w, and the exact
check on hard masks decides how many are kept. The idea is that of the binary masks of Marks et al.
2024 (feature circuits) and of scalable sparse feature circuits by learned masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from saecircuits.circuits.soft_ablation import soft_ablations
from saecircuits.nodes.experiment import Experiment
from saecircuits.torch_state import in_own_state


@dataclass(frozen=True)
class MaskSettings:
    """How masks are learned.

    Attributes:
        price: of a missing unit of faithfulness, against 1 for a hundred nodes.
        margin: what is aimed at above the wanted faithfulness.
    """

    steps: int = 160
    rate: float = 0.1
    price: float = 5.0
    margin: float = 0.01
    coldest: float = 0.1


@in_own_state
def rank_by_masks(
    experiment: Experiment,
    nodes: Sequence[str],
    wanted: float,
    settings: MaskSettings | None = None,
) -> list[str]:
    """The nodes by their learned masks, largest first.

    Args:
        nodes: ids of the features and error nodes that may be kept, in an order that breaks ties.
        wanted: faithfulness on the graph's prompts.
    """
    settings = settings or MaskSettings()
    model, soft = experiment.model, soft_ablations(experiment, nodes)
    weights = torch.ones(len(nodes), device=model.device, dtype=model.working_dtype)
    weights.requires_grad_()
    optimiser = torch.optim.Adam([weights], lr=settings.rate)
    for step in range(settings.steps):
        temperature = settings.coldest ** (step / max(1, settings.steps - 1))
        masks = torch.sigmoid(weights / temperature)
        missing = wanted + settings.margin - soft[step % len(soft)].faithfulness(masks)
        loss = masks.sum() / 100 + settings.price * missing.clamp(min=0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    order = torch.argsort(-weights.detach().cpu(), stable=True).tolist()
    return [str(nodes[number]) for number in order]
