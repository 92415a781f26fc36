"""Channel-wise distillation of a segmenter's logits."""

from __future__ import annotations

import torch
from torch import Tensor

from mmickd.losses.base import BaseLoss, reduce_loss, widen
from mmickd.losses.divergences import kl_divergence, masked_log_softmax
from mmickd.registry import LOSSES
from mmickd.structures import Queries
from mmickd.utils.errors import ICKDError
from mmickd.utils.validation import check_number


def cwd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 4.0,
    valid: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``T^2 / C sum_c KL(p^t_c || p^s_c)``, mean over the images.

    ``p_c`` is the softmax of the logits ``/ T`` of class ``c`` over the locations of an image.

    Source: Shu et al., 'Channel-wise Knowledge Distillation for Dense Prediction' (arXiv
    2011.13256), equations 3 to 5, on logits. The paper takes all locations; that those which are
    not valid (void, padding) are left out is our choice.

    Args:
        student_logits: ``(B, L, C)``; carries the gradient.
        teacher_logits: ``(B, L, C)``; taken as a constant.
        temperature: ``T`` > 0.
        valid: ``(B, L)`` bool; the locations that count (None: all). An image without any does not
            count.
        reduction: 'mean', or 'none' for a number per image.

    Returns:
        Scalar, float32 (float64 for float64 input), 0 with gradient 0 when no image counts; or
        ``(B,)``.

    Example:
        >>> z = torch.tensor([[[4.0], [0.0]]])  # one image, two locations, one class
        >>> cwd_loss(z, z), cwd_loss(z + 1, z), cwd_loss(-z, z, temperature=4.0)
        (tensor(0.), tensor(0.), tensor(7.3939))
    """
    if valid is None:
        valid = torch.ones_like(student_logits[..., 0], dtype=torch.bool)
    kept = valid[..., None]
    log_s = masked_log_softmax(widen(student_logits) / temperature, kept, dim=1)
    log_t = masked_log_softmax(widen(teacher_logits.detach()) / temperature, kept, dim=1)
    values = temperature**2 * kl_divergence(log_t, log_s, dim=1).mean(dim=1)
    return reduce_loss(values, valid.any(dim=1), reduction)


@LOSSES.register_module()
class CWDLoss(BaseLoss):
    """:func:`cwd_loss` with its options, for segmenters.

    Each location of an image has the number of the image; one location of each image counts, so
    that the mean over all ranks is that over their images.

    Args:
        temperature: ``T`` > 0.

    Example:
        >>> CWDLoss(temperature=1.0).is_dense
        True
    """

    is_dense = True
    default_weight = 3.0  # the paper's, for logits

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        check_number(temperature, "temperature", above=0)
        self.temperature = temperature

    def forward(self, queries: Queries) -> Tensor:
        """See :func:`cwd_loss`.

        Raises:
            ICKDError: if images have one location each, as those of a classifier.
        """
        assert queries.shape is not None
        images, locations = queries.shape
        if locations == 1:
            raise ICKDError(
                "CWDLoss compares the locations of an image, of which a classifier has one: use it "
                "with a segmenter."
            )
        values = cwd_loss(
            queries.student_logits.unflatten(0, queries.shape),
            queries.teacher_logits.unflatten(0, queries.shape),
            self.temperature,
            queries.valid.unflatten(0, queries.shape),
            reduction="none",
        )
        return values.repeat_interleave(locations, output_size=images * locations)

    def counted(self, queries: Queries) -> Tensor:
        """The first valid location of each image."""
        assert queries.shape is not None
        valid = queries.valid.unflatten(0, queries.shape)
        return (valid & (valid.cumsum(dim=1) == 1)).flatten()
