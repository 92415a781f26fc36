"""Random labels, and label errors among them."""

from __future__ import annotations

import torch
from torch import Tensor

CLASSES, ROWS = 5, 400


def random_labels(seed: int = 0) -> tuple[torch.Generator, Tensor]:
    """Return a random generator and ``(ROWS,)`` labels that it has drawn."""
    random = torch.Generator().manual_seed(seed)
    return random, torch.randint(CLASSES, (ROWS,), generator=random)


def with_errors(labels: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Return the labels with another class on a share of the rows."""
    is_error = torch.rand(len(labels), generator=random) < share
    other = (labels + torch.randint(1, CLASSES, labels.shape, generator=random)) % CLASSES
    return torch.where(is_error, other, labels)
