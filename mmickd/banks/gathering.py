"""What all ranks' batches give, on every rank."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
import torch.nn.functional as F
from mmengine import dist
from torch import Tensor

from mmickd.structures import Samples


def gather_samples(samples: Samples) -> tuple[Samples, list[int]]:
    """The rows of all ranks in the order of the ranks, and how many are of each.

    All ranks call this together; with several of them the host reads the numbers.

    Args:
        samples: ``(Q, ...)``; ``Q`` may differ between ranks.
    """
    world_size = dist.get_world_size()
    if world_size == 1:
        return samples, [len(samples)]
    own = torch.tensor([len(samples)], device=samples.labels.device)
    counts = torch.empty(world_size, dtype=own.dtype, device=own.device)
    torch_dist.all_gather_into_tensor(counts, own)
    sizes = counts.tolist()

    def gathered(rows: Tensor) -> Tensor:
        padded = F.pad(rows, (0, 0, 0, max(sizes) - rows.shape[0])).contiguous()
        every = padded.new_empty((world_size * max(sizes), rows.shape[1]))
        if not every.numel():
            return rows.new_empty((sum(sizes), rows.shape[1]))
        torch_dist.all_gather_into_tensor(every, padded)
        parts = every.split(max(sizes))
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    labels, ids = gathered(torch.stack([samples.labels, samples.ids], dim=1)).T.contiguous()
    return Samples(gathered(samples.features), gathered(samples.logits), labels, ids), sizes
