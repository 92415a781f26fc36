"""Registered parts of models and strategies for the configs of these tests."""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseModule
from mmengine.registry import FUNCTIONS
from mmpretrain.models.backbones import ResNet_CIFAR
from mmpretrain.registry import MODELS as CLASSIFIER_MODELS
from mmseg.models.decode_heads import FCNHead
from mmseg.registry import MODELS as SEGMENTER_MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@SEGMENTER_MODELS.register_module()
@CLASSIFIER_MODELS.register_module()
class OneConvolution(BaseModule):
    """The smallest backbone, for tests that take long with a larger one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.conv(x).relu(),)


@CLASSIFIER_MODELS.register_module()
class SpareResNet(ResNet_CIFAR):
    """ResNet with an unused layer."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spare = nn.Linear(2, 2)


@SEGMENTER_MODELS.register_module()
class CheckpointedHead(FCNHead):
    """Head that recomputes its forward pass, with the classifier layer, in the backward pass."""

    def __init__(self, use_reentrant: bool, more: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_reentrant, self.more, self.runs = use_reentrant, more, 0

    def forward(self, inputs: Any) -> Tensor:
        return checkpoint(self._run, *inputs, use_reentrant=self.use_reentrant)

    def _run(self, *inputs: Tensor) -> Tensor:
        self.runs += 1
        logits = super().forward(inputs)
        return logits * 1.0 if self.more else logits


@FUNCTIONS.register_module()
def is_head(module: nn.Module) -> bool:
    """True if a module is a head with its classifier layer (for ``activation_checkpointing``)."""
    return type(module).__name__ in ("LinearClsHead", "FCNHead")


@FUNCTIONS.register_module()
def is_classifier_layer(module: nn.Module) -> bool:
    """True if a module is the classifier layer (for ``activation_checkpointing``)."""
    return isinstance(module, nn.Linear) or getattr(module, "out_channels", 0) == 3


@FUNCTIONS.register_module()
def wrap_segmentation_head(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """True if FSDP is to wrap a module as a unit: the decode head (an ``auto_wrap_policy``)."""
    return recurse or isinstance(module, FCNHead)
