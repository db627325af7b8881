"""MLP transcoders: sparse features that read what an MLP reads and write what it writes."""

from __future__ import annotations

from pathlib import Path

import torch
from activations import activation_batches
from architecture import LanguageModel
from dictionaries import DictionaryRecipe, site_metadata
from gates import BatchGate
from rows import MixedRows
from sae_lens.saes.transcoder import JumpReLUTranscoder, JumpReLUTranscoderConfig
from torch import Tensor, nn


def transcoder_sites(layer: int) -> tuple[str, str]:
    """Where the transcoder of a layer reads and where it writes."""
    return f"blocks.{layer}.ln2.hook_normalized", f"blocks.{layer}.hook_mlp_out"


class TranscoderTraining(nn.Module):
    """The parameters of a transcoder while it is trained.

    Outputs are scaled to the norm of a normalised activation during training, so that one
    learning rate suits every layer; `save` undoes the scale.
    """

    def __init__(self, inputs: Tensor, outputs: Tensor, recipe: DictionaryRecipe) -> None:
        super().__init__()
        self.scale = outputs.shape[1] ** 0.5 / outputs.norm(dim=1).mean().item()
        outputs = outputs * self.scale
        chosen = torch.randperm(len(inputs))[: recipe.features]
        read = inputs[chosen] - inputs.mean(dim=0)
        written = outputs[chosen] - outputs.mean(dim=0)
        self.W_enc = nn.Parameter(0.2 * (read / read.norm(dim=1, keepdim=True)).T.contiguous())
        self.b_enc = nn.Parameter(-(inputs.mean(dim=0) @ self.W_enc.data))
        self.W_dec = nn.Parameter(written / written.norm(dim=1, keepdim=True))
        self.b_dec = nn.Parameter(outputs.mean(dim=0))
        self.gate = BatchGate(recipe.active)

    def unexplained(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """The share of the variance of the outputs that the features do not give."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = self.gate((inputs @ self.W_enc).float() + self.b_enc)
            written = (features @ self.W_dec).float() + self.b_dec
        wanted = outputs * self.scale
        return (written - wanted).pow(2).sum() / (wanted - wanted.mean(dim=0)).pow(2).sum()

    @torch.no_grad()
    def normalise(self) -> None:
        """Keep decoder rows at norm 1, so that one threshold means the same for all features."""
        self.W_dec.data /= self.W_dec.norm(dim=1, keepdim=True).clamp(min=1e-8)

    def save(self, layer: int, folder: Path) -> None:
        """Write the trained parameters as a JumpReLU transcoder of sae_lens."""
        width, features = self.W_enc.shape
        config = JumpReLUTranscoderConfig(
            d_in=width,
            d_sae=features,
            d_out=width,
            apply_b_dec_to_input=False,
            metadata=site_metadata(*transcoder_sites(layer)),
        )
        saved = JumpReLUTranscoder(config)
        saved.W_enc.data = (self.W_enc.data / self.scale).contiguous()
        saved.b_enc.data = self.b_enc.data / self.scale
        saved.W_dec.data = self.W_dec.data.clone()
        saved.b_dec.data = self.b_dec.data / self.scale
        saved.threshold.data = (self.gate.threshold / self.scale).expand(features).clone()
        saved.save_model(folder)


def train_transcoder(
    model: LanguageModel, rows: MixedRows, layer: int, recipe: DictionaryRecipe, folder: Path
) -> None:
    """Train the transcoder of one layer and save it."""
    torch.manual_seed(recipe.seed)
    batches = activation_batches(model, rows, list(transcoder_sites(layer)), recipe.batch)
    inputs, outputs = next(batches)
    training = TranscoderTraining(inputs, outputs, recipe)
    optimizer = torch.optim.Adam(training.parameters(), lr=recipe.rate)
    steps = recipe.samples // recipe.batch
    for step in range(steps):
        inputs, outputs = next(batches)
        optimizer.param_groups[0]["lr"] = recipe.rate * min(1.0, 3 * (1 - step / steps))
        training.unexplained(inputs, outputs).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        training.normalise()
    training.save(layer, folder)
