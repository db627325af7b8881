"""Removal of features that never become active, so that what is shipped is what is used."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from activations import collect
from architecture import LanguageModel
from dictionaries import load_dictionary, parameter_of
from sae_lens import SAE
from torch import Tensor


@torch.no_grad()
def active_features(model: LanguageModel, dictionary: SAE, rows: Tensor) -> Tensor:
    """Which features are active at any position of the rows."""
    site = str(dictionary.cfg.metadata.hook_name)
    fired = torch.zeros(dictionary.cfg.d_sae, dtype=torch.bool)
    for part in rows.split(64):
        fired |= (dictionary.encode(collect(model, part, [site])[site]) > 0).any(dim=0)
    return fired


@torch.no_grad()
def without(dictionary: SAE, kept: Tensor) -> SAE:
    """The dictionary with only the features that are kept; it computes the same on the others."""
    config = dataclasses.replace(dictionary.cfg, d_sae=int(kept.sum()))
    smaller = type(dictionary)(config)
    smaller.W_enc.data = dictionary.W_enc.data[:, kept].contiguous()
    smaller.W_dec.data = dictionary.W_dec.data[kept].contiguous()
    for name in ("b_enc", "threshold"):
        parameter_of(smaller, name).data = parameter_of(dictionary, name).data[kept].clone()
    smaller.b_dec.data = dictionary.b_dec.data.clone()
    return smaller


def prune(model: LanguageModel, folder: Path, rows: Tensor) -> int:
    """Drop the features of a saved dictionary that no position of the rows activates."""
    dictionary = load_dictionary(folder)
    kept = active_features(model, dictionary, rows)
    dropped = int((~kept).sum())
    if dropped:
        without(dictionary, kept).save_model(folder)
    return dropped
