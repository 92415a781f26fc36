"""Divergences of distributions that are given by their logarithms, and leaving outcomes out."""

import math

import torch

from mmickd.losses.divergences import entropy, kl_divergence, masked_log_softmax


def test_divergence_and_entropy_by_hand():
    log_p, log_q = torch.tensor([[0.75, 0.25], [0.5, 0.5]]).log()
    want = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert torch.allclose(kl_divergence(log_p, log_q), torch.tensor(want))
    assert torch.allclose(kl_divergence(log_p[:, None], log_q[:, None], dim=0), torch.tensor(want))
    assert torch.allclose(entropy(log_q), torch.tensor(math.log(2.0)))


def test_what_is_masked_is_left_out_and_may_be_anything():
    x = torch.tensor([[1.0, torch.nan, 0.0], [torch.inf, torch.nan, 1.0]], requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    found = masked_log_softmax(x, mask)
    want = torch.tensor([1.0, 0.0]).log_softmax(0)
    assert torch.equal(
        found, torch.stack([torch.stack([want[0], want.new_zeros(()), want[1]]), want.new_zeros(3)])
    )
    (gradient,) = torch.autograd.grad(found[0, 0], x)
    assert torch.isfinite(gradient).all() and not gradient[~mask].any()
