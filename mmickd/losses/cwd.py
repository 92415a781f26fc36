"""Channel-wise distillation of a segmenter's logits."""

from __future__ import annotations

from torch import Tensor

from mmickd.losses.base import BaseLoss, kl_divergence, masked_log_softmax, widen
from mmickd.registry import LOSSES
from mmickd.structures import Queries
from mmickd.utils.errors import ICKDError
from mmickd.utils.validation import check_number


@LOSSES.register_module()
class CWDLoss(BaseLoss):
    """CWD: ``T^2 / C sum_c KL(p^t_c || p^s_c)`` of an image, for segmenters.

    ``p_c`` is the softmax of the logits ``/ T`` of class ``c`` over the locations of the image.
    Every location has the value of its image, and one location of each image is counted, so that
    the mean over all ranks is the mean over their images.

    Source: Shu et al., 'Channel-wise Knowledge Distillation for Dense Prediction' (arXiv
    2011.13256), equations 3 to 5, on logits. The paper takes all locations; leaving out the
    invalid ones (void, padding) is our choice.

    Args:
        temperature: ``T`` > 0.

    Example:
        >>> import torch
        >>> z = torch.tensor([[4.0], [0.0]])  # one image, two locations, one class
        >>> CWDLoss()(Queries(-z, z, shape=(1, 2)))
        tensor([7.3939, 7.3939])
    """

    is_dense = True
    default_weight = 3.0  # the paper's, for logits

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        check_number(temperature, "temperature", above=0)
        self.temperature = temperature

    def forward(self, queries: Queries) -> Tensor:
        """Return the loss of each location's image, ``(Q,)``.

        Raises:
            ICKDError: If images have one location each, as a classifier's do.
        """
        images, locations = queries.shape
        if locations == 1:
            raise ICKDError(
                "CWDLoss compares the locations of an image, but a classifier has one location "
                "per image: use it with a segmenter."
            )
        student, teacher, valid = (
            x.unflatten(0, queries.shape)
            for x in (queries.student_logits, queries.teacher_logits.detach(), queries.valid)
        )
        log_s = masked_log_softmax(widen(student) / self.temperature, valid[..., None], dim=1)
        log_t = masked_log_softmax(widen(teacher) / self.temperature, valid[..., None], dim=1)
        values = self.temperature**2 * kl_divergence(log_t, log_s, dim=1).mean(dim=1)
        return values.repeat_interleave(locations, output_size=images * locations)

    def counted(self, queries: Queries) -> Tensor:
        """Count the first valid location of each image."""
        valid = queries.valid.unflatten(0, queries.shape)
        return (valid & (valid.cumsum(dim=1) == 1)).flatten()
