"""What a student says of single images, as its classifier layer sees them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from mmickd.networks.taps import Tap, evaluating
from mmickd.structures import Tapped


class StudentPredictor:
    """Runs a student on packed images, in eval mode and without gradients.

    Args:
        model: unwrapped; it is left in the mode that it was in.
        layer: its classifier layer.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        self._model = model
        self._tap = Tap(model, layer)

    @torch.no_grad()
    def of(self, sample: dict[str, Any]) -> Tapped:
        """What the classifier layer takes and gives of one image.

        Args:
            sample: packed; it is left as it is.
        """
        own = copy.deepcopy(sample)
        with evaluating(self._model):
            data = {name: [own[name]] for name in ("inputs", "data_samples")}
            inputs = self._model.data_preprocessor(data, False)["inputs"]  # type: ignore[operator]
            return self._tap.read(
                lambda: self._model(inputs, mode="tensor"), "the student", "layer"
            )

    def close(self) -> None:
        """Leave the student."""
        self._tap.close()
