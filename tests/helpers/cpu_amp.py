"""Mixed precision with loss scaling on the CPU, which mmengine's own wrapper refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(AmpOptimWrapper):
    """mmengine's wrapper with torch's own autocast (bf16) and gradient scaler for the CPU.

    Args:
        init_scale: of the loss.
        kwargs: of ``OptimWrapper``.
    """

    def __init__(self, init_scale: float = 8.0, **kwargs: Any) -> None:
        OptimWrapper.__init__(self, **kwargs)  # the next one's asserts that there is a GPU
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler("cpu", init_scale=init_scale, growth_interval=2)
        self.cast_dtype = torch.bfloat16

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast by torch, and mmengine's own context of accumulation."""
        with (
            OptimWrapper.optim_context(self, model),
            torch.autocast("cpu", dtype=torch.bfloat16),
        ):
            yield
