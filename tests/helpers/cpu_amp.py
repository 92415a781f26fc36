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
    """mmengine's wrapper with torch's own autocast and gradient scaler for the CPU.

    Args:
        init_scale: First scale of the loss.
        cast_dtype: Dtype of autocast, 'bfloat16' or 'float16'.
        kwargs: Arguments of ``OptimWrapper``.
    """

    def __init__(
        self, init_scale: float = 8.0, cast_dtype: str = "bfloat16", **kwargs: Any
    ) -> None:
        OptimWrapper.__init__(self, **kwargs)  # AmpOptimWrapper's needs a GPU
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler("cpu", init_scale=init_scale, growth_interval=2)
        self.cast_dtype = getattr(torch, cast_dtype)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter torch's autocast and mmengine's context of gradient accumulation."""
        with (
            OptimWrapper.optim_context(self, model),
            torch.autocast("cpu", dtype=self.cast_dtype),
        ):
            yield
