"""Heads without exactly one classifier layer."""

from __future__ import annotations

from typing import Any

from mmseg.models.decode_heads import FCNHead
from torch import Tensor, nn


class UnusualHead(FCNHead):
    """Head whose logits are no layer's output."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.last, self.conv_seg = self.conv_seg, nn.Identity()

    def cls_seg(self, feat: Tensor) -> Tensor:
        return self.last(feat).tanh()


class TwoLayerHead(FCNHead):
    """Head that returns the outputs of two layers."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first, self.conv_seg = self.conv_seg, nn.Identity()
        self.second = nn.Conv2d(self.channels, self.num_classes, 1)

    def forward(self, inputs: Any) -> Any:
        feature = self._forward_feature(inputs)
        logits = self.second(feature)
        return logits if self.training else (self.first(feature), logits)
