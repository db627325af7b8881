"""Dictionaries that nobody trained, at the sites of those that somebody did.

    coordinates   one feature per coordinate of the tensor
    pca           one per principal component of the tensor over the prompts
    random        as many random directions as the trained dictionary has features, with a
                  threshold at which as many are active on average

The first two are complete: their error is rounding. Each of their features is active throughout,
`a = x . d + offset` with an offset that no activation reaches, so a direction is one node whatever
its sign.
"""

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.splicing import SplicedModel
from saecircuits.splicing.building import splice
from saecircuits.splicing.dictionary import Dictionary
from saecircuits.tasks import Prompts

Basis: TypeAlias = Literal["coordinates", "pca", "random"]


def respliced(model: SplicedModel, prompts: Prompts, basis: Basis, *, seed: int) -> SplicedModel:
    """The same model with other dictionaries at its sites.

    Args:
        prompts: whose clean tokens, what is prepended left out, say what components and thresholds
            are.
    """
    makers: Mapping[Basis, Callable[[Tensor, Dictionary, int], Dictionary]] = {
        "coordinates": lambda x, own, seed: complete_dictionary(x, _identity(x)),
        "pca": lambda x, own, seed: complete_dictionary(x, principal_components(x)),
        "random": lambda x, own, seed: random_dictionary(x, own, seed=seed),
    }
    written = site_values(model, prompts)
    dictionaries = {
        one.site.hook: makers[basis](x, one.dictionary, seed + number)
        for number, (one, x) in enumerate(zip(model.splices, written, strict=True))
    }
    return splice(model.bridge, dictionaries, name=f"{model.name} with {basis}")


@torch.no_grad()
def site_values(model: SplicedModel, prompts: Prompts) -> list[Float[Tensor, "token d_out"]]:
    """What is written at every site, over the tokens of the clean texts."""
    found: dict[int, Tensor] = {}
    tokens = prompts.clean_tokens.to(model.device)
    lengths = prompts.clean_lengths.to(model.device)
    place = torch.arange(tokens.shape[1], device=model.device)
    is_inside = (place >= prompts.first) & (place < lengths[:, None])

    def keep(index: int, read: Tensor, write: Tensor) -> None:
        found[index] = write[is_inside]

    model.forward(tokens, at_site=keep)
    return [found[index] for index in range(len(model.splices))]


def complete_dictionary(
    x: Float[Tensor, "token width"], directions: Float[Tensor, "width width"]
) -> Dictionary:
    """Orthonormal directions (rows) as features that are always active.

    Args:
        x: values that the offset is made for: four times the largest distance from their mean.
    """
    mean = x.mean(0)
    offset = 4 * (x - mean).norm(dim=1).max().expand(len(directions))
    return Dictionary(
        kind="relu",
        W_enc=directions.T.contiguous(),
        b_enc=offset.clone(),
        W_dec=directions,
        b_dec=mean - offset @ directions,
        shift=mean,
    )


def _identity(x: Float[Tensor, "token width"]) -> Float[Tensor, "width width"]:
    return torch.eye(x.shape[1], dtype=x.dtype, device=x.device)


def principal_components(x: Float[Tensor, "token width"]) -> Float[Tensor, "width width"]:
    """Orthonormal rows, the direction of largest variance first."""
    # On the CPU, which has float64 whatever the model is on.
    covariance = torch.cov(x.cpu().double().T)
    return torch.linalg.eigh(covariance).eigenvectors.flip(1).T.to(x).contiguous()


def random_dictionary(x: Float[Tensor, "token width"], own: Dictionary, *, seed: int) -> Dictionary:
    """Random unit directions, as many as `own` has features and as many of them active on `x`.

    Encoder and decoder share the directions; the decoder is scaled by the one number that makes
    the reconstruction of `x` best.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(own.d_sae, x.shape[1], generator=generator, device="cpu").to(x)
    directions = directions / directions.norm(dim=1, keepdim=True)
    mean = x.mean(0)
    scores = (x - mean) @ directions.T
    # A transcoder reads another tensor; then what a dictionary of this width would have active.
    active = float((own.encode(x) != 0).float().mean()) if own.d_in == x.shape[1] else 0.02
    threshold = torch.quantile(scores.flatten()[: 2**23], 1 - active).clamp(min=0)
    acts = torch.relu(scores) * (scores > threshold)
    again = acts @ directions
    scale = ((x - mean) * again).sum() / (again**2).sum().clamp(min=1e-12)
    return Dictionary(
        kind="jumprelu",
        W_enc=directions.T.contiguous(),
        b_enc=torch.zeros_like(directions[:, 0]),
        W_dec=directions * scale,
        b_dec=mean,
        shift=mean,
        threshold=threshold.expand(own.d_sae).clone(),
    )
