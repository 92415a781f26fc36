"""Conversion of inputs from the student's normalisation to the teacher's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmickd.utils.errors import ICKDError

COLOURS = 3
"""Channels of a colour image; data preprocessors reorder the channels of no other images."""


@dataclass(frozen=True, eq=False)
class InputNormalization:
    """Normalisation of an image by a data preprocessor.

    Args:
        mean: Means ``(C, 1, 1)`` float32, in the channel order of the network.
        std: Standard deviations ``(C, 1, 1)`` float32.
        swaps_channels: True if the channels of a colour image are reversed first.
    """

    mean: Tensor
    std: Tensor
    swaps_channels: bool

    @classmethod
    def read(cls, preprocessor: nn.Module) -> InputNormalization:
        """Return the normalisation of a data preprocessor of mmpretrain, mmseg or mmengine."""
        mean = getattr(preprocessor, "mean", None)
        std = getattr(preprocessor, "std", None)
        swaps = any(
            bool(getattr(preprocessor, name, False))
            for name in ("to_rgb", "channel_conversion", "_channel_conversion")
        )
        if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
            mean, std = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
        return cls(mean.detach().cpu().float(), std.detach().cpu().float(), swaps)


class InputConverter(nn.Module):
    """Affine map of inputs from one normalisation to another; the identity if both are equal.

    The order of the channels changes only in colour images.

    Args:
        source: Normalisation of the inputs.
        target: Normalisation of the outputs.

    Raises:
        ICKDError: If the numbers of channels of source and target differ.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, source: InputNormalization, target: InputNormalization) -> None:
        super().__init__()
        values = source.mean, source.std, target.mean, target.std
        if len({len(value) for value in values} - {1}) > 1:
            raise ICKDError(
                "data_preprocessor: mean and std of the student have "
                f"{len(source.mean)} and {len(source.std)} channels, mean and std of the teacher "
                f"{len(target.mean)} and {len(target.std)}. Both process the same images: set the "
                "same number of channels."
            )
        self.flip = source.swaps_channels != target.swaps_channels
        pairs = (source.mean, target.mean), (source.std, target.std)
        has_equal_values = all(torch.equal(*torch.broadcast_tensors(*pair)) for pair in pairs)
        self.identity = not self.flip and has_equal_values
        mean, std = source.mean, source.std
        if self.flip:
            mean, std = swap_colours(mean, 0), swap_colours(std, 0)
        # (x * std_s + mean_s - mean_t) / std_t
        self.register_buffer("scale", std / target.std, persistent=False)
        self.register_buffer("shift", (mean - target.mean) / target.std, persistent=False)

    @classmethod
    def between(cls, source: nn.Module, target: nn.Module) -> InputConverter:
        """Return the converter from one model's data preprocessor to another's."""
        models = source, target
        return cls(*(InputNormalization.read(m.data_preprocessor) for m in models))  # type: ignore[arg-type]

    def forward(self, inputs: Tensor) -> Tensor:
        """Convert ``(B, C, h, w)`` inputs."""
        if self.identity:
            return inputs
        if self.flip:
            inputs = swap_colours(inputs, 1)
        return inputs * self.scale + self.shift


def swap_colours(values: Tensor, dim: int) -> Tensor:
    """Reverse the channels of colour images (BGR to RGB or back); other images stay unchanged.

    Args:
        values: Values of any shape with channels.
        dim: Dimension of the channels.

    Example:
        >>> swap_colours(torch.tensor([1, 2, 3]), 0).tolist()
        [3, 2, 1]
        >>> swap_colours(torch.tensor([1, 2, 3, 4]), 0).tolist()  # as mmseg and mmpretrain do
        [1, 2, 3, 4]
    """
    return values.flip(dim) if values.shape[dim] == COLOURS else values
