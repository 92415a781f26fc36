"""CIFAR ResNets of the distillation literature (resnet8x4, 32x4, 20, 56, 110)."""

from collections.abc import Sequence
from typing import Any

from mmpretrain.models.backbones import ResNet_CIFAR
from mmpretrain.models.backbones.resnet import BasicBlock


class CIFARResNet(ResNet_CIFAR):
    """Three-stage ResNet for 32x32 images.

    mmpretrain's ``ResNet_CIFAR`` has the four stages and the widths of the ImageNet models. The
    distillation literature (CRD, DKD, ReviewKD, ...) uses the three-stage networks of He et al.,
    section 4.2, and networks that are four times wider:

    ========== ===== ============= ============= ========================
    name       depth stem_channels base_channels parameters, 100 classes
    ========== ===== ============= ============= ========================
    resnet8x4  8     32            64            1,233,540
    resnet32x4 32    32            64            7,433,860
    resnet20   20    16            16            278,324
    resnet56   56    16            16            861,620
    resnet110  110   16            16            1,736,564
    ========== ===== ============= ============= ========================

    Args:
        depth (int): Number of weighted layers, ``6n + 2``, from {8, 14, 20, 32, 44, 56, 110}.
        stem_channels (int): Output channels of the stem. Defaults to 16.
        base_channels (int): Channels of the first stage; each further stage doubles them.
            Defaults to 16.
        out_indices (Sequence[int]): Stages whose feature maps are returned. Defaults to ``(2, )``.
        zero_init_residual (bool): True to initialise the last norm layer of each block with zero.
            Defaults to False, as in the literature's code (mmpretrain's default is True).
        **kwargs: Further arguments of ``ResNet_CIFAR``.

    Shapes:
        The output for an input (N, 3, 32, 32), float, is a tuple with a map (N, base_channels *
        2**i, 32 / 2**i, 32 / 2**i) for each ``i`` of ``out_indices``.

    Raises:
        ValueError: If ``depth`` is none of the depths above.
    """

    arch_settings = {
        depth: (BasicBlock, ((depth - 2) // 6,) * 3) for depth in (8, 14, 20, 32, 44, 56, 110)
    }

    def __init__(
        self,
        depth: int,
        stem_channels: int = 16,
        base_channels: int = 16,
        out_indices: Sequence[int] = (2,),
        zero_init_residual: bool = False,
        **kwargs: Any,
    ) -> None:
        if depth not in self.arch_settings:
            raise ValueError(
                f"CIFARResNet has no depth {depth}; use one of {sorted(self.arch_settings)}."
            )
        super().__init__(
            depth,
            stem_channels=stem_channels,
            base_channels=base_channels,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=out_indices,
            zero_init_residual=zero_init_residual,
            **kwargs,
        )
