"""The gate that keeps a wanted number of features active, through a threshold that follows."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BatchGate(nn.Module):
    """A JumpReLU gate whose threshold is moved so that `active` features pass on average.

    BatchTopK keeps the largest values of a batch, which is the same as a threshold at the least
    of them. Here the threshold rises after a batch in which too many features passed and falls
    after one in which too few did: training and inference then use one kind of gate, and no
    `topk` over a whole batch is paid for. With `follows` off, the threshold stays as it is.
    """

    threshold: Tensor

    def __init__(self, active: float, threshold: float = 0.0, rate: float = 0.05) -> None:
        super().__init__()
        self.active = active
        self.rate = rate
        self.follows = True
        self.passed = 0.0
        self.register_buffer("threshold", torch.tensor(threshold))

    @torch.no_grad()
    def _start(self, values: Tensor) -> None:
        """Put a threshold that was never set where BatchTopK would have it in this batch."""
        some = values.reshape(-1, values.shape[-1])[:512]
        kept = round(self.active * len(some))
        self.threshold.fill_(some.flatten().topk(kept, sorted=False).values.min().clamp(min=1e-6))

    def forward(self, values: Tensor) -> Tensor:
        """The values above the threshold, the others zero."""
        if float(self.threshold) <= 0:
            self._start(values)
        features = self.held(values)
        with torch.no_grad():
            self.passed = int(torch.count_nonzero(features)) / values[..., 0].numel()
            if self.training and self.follows:
                excess = min(max(self.passed / self.active - 1, -1.0), 1.0)
                self.threshold *= math.exp(self.rate * excess)
        return features

    def held(self, values: Tensor) -> Tensor:
        """The same, and the threshold is not moved."""
        return F.threshold(values, float(self.threshold), 0.0)
