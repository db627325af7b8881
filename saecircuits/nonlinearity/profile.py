"""The linearity profile: the metric on the straight line from corrupted to clean stream, by layer.

What enters each block, and the final norm, is set to `corrupted + t (clean - corrupted)` at every
token in a unit, corrupted values aligned with the clean tokens; everything after follows. A
straight curve over t means that what comes after that layer is linear between the two runs.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.experiment import Experiment
from saecircuits.nonlinearity.component_game import aligned
from saecircuits.splicing.section import Section
from saecircuits.theory.linearity import line_residuals, midpoint_deviation


def stream_curves(
    contrast: Contrast, points: int, *, tokens_at_once: int | None = None
) -> list[Tensor]:
    """The metric at evenly spaced t from 0 to 1: `[point, batch]` for every stream, in order."""
    model, prompts = contrast.model, contrast.prompts
    clean, _ = model.streams(
        contrast.tokens, operator=contrast.operator, lengths=prompts.clean_lengths
    )
    corrupted, _ = model.streams(prompts.corrupted_tokens.to(model.device))
    curves = []
    for first, (end, other) in enumerate(zip(clean, corrupted, strict=True)):
        change = end - aligned(contrast, end, other)
        curve = []
        shares = torch.linspace(0, 1, points, device=end.device).to(end)
        for some in shares.split(contrast.copies(tokens_at_once)):
            stream = end - (1 - some)[:, None, None, None] * change
            logits = model.forward(
                contrast.tokens.repeat(len(some), 1),
                operator=contrast.operator.repeated(len(some)),
                section=Section(first, stream.flatten(0, 1)),
                lengths=prompts.clean_lengths.repeat(len(some)),
            )
            curve.append(contrast.metric(logits))
        curves.append(torch.cat(curve))
    return curves


@torch.no_grad()
def profile(
    experiment: Experiment, *, points: int = 11, resamples: int = 1000, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Figures by layer, and the curves.

    Returns:
        Figures: `layer` (the block that the stream enters; the last row is the final norm),
        `change` (mean of m(1) - m(0)), `deviation` (mean over prompts of the curve's middle less
        its chord's, over `change`), `deviation_low`, `deviation_high` (bootstrap over prompts),
        `bend` (mean |deviation| of single prompts over mean |change|), `r_squared` (of a line
        fitted to every prompt's curve, over all prompts).
        Curves: `layer`, `share` (t) and `metric`, the mean over prompts.
    """
    by_layer = experiment.per_prompt(lambda batch: torch.cat(stream_curves(batch, points)))
    figures, curves = [], []
    for layer, curve in enumerate(torch.as_tensor(by_layer, device="cpu").split(points)):
        change, bent = curve[-1] - curve[0], midpoint_deviation(curve)
        about_line, about_mean = line_residuals(curve).sum(1).tolist()
        low, high = _ratio_interval(bent.numpy(), change.numpy(), resamples, seed)
        figures.append(
            {
                "layer": layer,
                "change": float(change.mean()),
                "deviation": float(bent.mean() / change.mean()),
                "deviation_low": low,
                "deviation_high": high,
                "bend": float(bent.abs().mean() / change.abs().mean()),
                "r_squared": 1 - about_line / about_mean if about_mean else float("nan"),
            }
        )
        shares = np.linspace(0, 1, points)
        curves += [
            {"layer": layer, "share": share, "metric": value}
            for share, value in zip(shares.tolist(), curve.mean(1).tolist(), strict=True)
        ]
    return pd.DataFrame(figures), pd.DataFrame(curves)


def _ratio_interval(
    above: np.ndarray, below: np.ndarray, resamples: int, seed: int
) -> tuple[float, float]:
    """Percentile bootstrap interval of a ratio of means over prompts; NaN for a single prompt."""
    size = len(above)
    if size < 2:
        return float("nan"), float("nan")
    counts = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=resamples)
    low, high = np.quantile((counts @ above) / (counts @ below), [0.025, 0.975])
    return float(low), float(high)
