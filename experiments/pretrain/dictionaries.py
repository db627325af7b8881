"""Sparse autoencoders, one per site, trained by sae_lens itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from activations import activation_batches
from architecture import LanguageModel
from rows import ROW, Rows
from sae_lens import SAE, BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.saes.sae import SAEMetadata
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor, nn


@dataclass(frozen=True)
class Origin:
    """What a dictionary says of the model and the text that it was made with."""

    model: str = "stories"
    text: str = "TinyStories and generated passages"
    row_tokens: int = ROW


@dataclass(frozen=True)
class DictionaryRecipe:
    """How one dictionary is trained."""

    features: int = 1024
    active: int = 24
    samples: int = 800_000
    batch: int = 1024
    rate: float = 1e-3
    seed: int = 11
    origin: Origin = Origin()


def site_metadata(
    hook_name: str, hook_name_out: str | None = None, *, origin: Origin | None = None
) -> SAEMetadata:
    """What a loader has to know about where a dictionary belongs."""
    origin = origin or Origin()
    facts = {
        "model_name": origin.model,
        "hook_name": hook_name,
        "context_size": origin.row_tokens,
        "prepend_bos": True,
        "dataset_path": origin.text,
    }
    if hook_name_out is not None:
        facts["hook_name_out"] = hook_name_out
    return SAEMetadata(**facts)


@torch.no_grad()
def start_from_data(sae: BatchTopKTrainingSAE, points: Tensor) -> None:
    """Point every feature at a centred activation, so that none is dead from the start."""
    centre = points.mean(dim=0)
    chosen = points[torch.randperm(len(points))[: sae.cfg.d_sae]] - centre
    chosen = chosen + 0.1 * chosen.norm(dim=1, keepdim=True) * torch.randn_like(chosen) / 11
    directions = chosen / chosen.norm(dim=1, keepdim=True)
    sae.W_dec.data = directions * sae.W_dec.norm(dim=1).mean()
    sae.W_enc.data = sae.W_dec.data.T.clone().contiguous()
    sae.b_dec.data = centre.clone()


def train_dictionary(
    model: LanguageModel, rows: Rows, hook_name: str, recipe: DictionaryRecipe, folder: Path
) -> None:
    """Train a BatchTopK autoencoder at one site; sae_lens writes it as a JumpReLU one."""
    torch.manual_seed(recipe.seed)
    config = BatchTopKTrainingSAEConfig(
        d_in=model.shape.width,
        d_sae=recipe.features,
        k=recipe.active,
        topk_threshold_lr=0.03,
        normalize_activations="expected_average_only_in",
        metadata=site_metadata(hook_name, origin=recipe.origin),
    )
    sae = BatchTopKTrainingSAE(config)
    data = _single(activation_batches(model, rows, [hook_name], recipe.batch))
    points = next(data)
    scale = model.shape.width**0.5 / points.norm(dim=1).mean()
    start_from_data(sae, points * scale)
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=recipe.samples,
            train_batch_size_samples=recipe.batch,
            lr=recipe.rate,
            autocast=True,
            lr_end=recipe.rate / 10,
            lr_decay_steps=recipe.samples // recipe.batch // 3,
            n_batches_for_norm_estimate=8,
            dead_feature_window=100,
            logger=LoggingConfig(log_to_wandb=False),
        ),
        sae,
        data,
    )
    trainer.fit().save_inference_model(folder)


def _single(batches: Iterator[list[Tensor]]) -> Iterator[Tensor]:
    """The batches of the only site."""
    for (batch,) in batches:
        yield batch


def parameter_of(dictionary: SAE, name: str) -> nn.Parameter:
    """A parameter that dictionaries of one kind have, such as the threshold of JumpReLU ones."""
    found = getattr(dictionary, name)
    assert isinstance(found, nn.Parameter), f"{name} is {type(found).__name__}, not a parameter"
    return found


def load_dictionary(folder: Path) -> SAE:
    """A saved dictionary, in float32 on the CPU."""
    return SAE.load_from_disk(folder, device="cpu").eval()
