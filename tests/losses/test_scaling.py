"""Dividing by a variation that may be nothing but rounding."""

import torch

from mmickd.losses.scaling import divide_by_size


def test_only_what_varies_is_divided():
    x = torch.tensor([[3.3, 3.3 + 3e-7], [3.3, 3.4], [1e-9, 2e-9], [0.0, 0.0]])
    centered = x - x.mean(dim=1, keepdim=True)
    size = centered.norm(dim=1, keepdim=True)
    found = divide_by_size(centered, size, x.norm(dim=1, keepdim=True))
    assert torch.equal(found[[0, 3]], centered[[0, 3]])
    assert torch.allclose(found[[1, 2]].norm(dim=1), torch.ones(2))
