"""The same architecture with random weights: what a method finds where nothing was learned."""

from copy import deepcopy
from dataclasses import replace

import torch

from saecircuits.splicing.booting import random_bridge
from saecircuits.splicing.model import SplicedModel


def untrained(model: SplicedModel, *, seed: int = 0) -> SplicedModel:
    """The model with weights drawn as its architecture initialises them, on its device.

    The dictionaries stay those of the model.
    """
    config = deepcopy(model.bridge.original_model.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bridge = random_bridge(config, model.tokenizer, dtype=model.dtype, device=model.device)
    like = next(bridge.parameters())
    splices = tuple(replace(one, dictionary=one.dictionary.to(like)) for one in model.splices)
    return SplicedModel(bridge=bridge, splices=splices, name=f"{model.name}, untrained")
