"""The moving average of a network that learns, which fills its queue more steadily."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmickd.structures import Tapped
from mmickd.teachers.normalization import InputConverter
from mmickd.teachers.self_teacher import SelfTeacher
from mmickd.utils.modules import copy_model


class MomentumEncoder:
    """The moving average of a student or peer, asked once per step.

    Source: MoCo (arXiv 1911.05722), section 3.2; the warm-up of the average is that of mmengine's
    ``MomentumAnnealingEMA``, see :class:`~mmickd.teachers.SelfTeacher`.

    Args:
        network: unwrapped; the average begins with its weights.
        layer: its classifier layer.
        momentum: share of the network in a step of the average.
        converter: from the student's normalised inputs to the network's; None: they are its own.
        device: where it runs.
    """

    def __init__(
        self,
        network: nn.Module,
        layer: str,
        momentum: float,
        converter: InputConverter | None,
        device: torch.device,
    ) -> None:
        self._average = SelfTeacher(momentum=momentum)
        self._average.adopt(copy_model(network), network, device)
        self._average.attach(layer)
        self._converter = converter
        self._tapped: Tapped | None = None

    def __call__(self, inputs: Tensor) -> Tapped:
        """Features and logits of this step's batch; it runs for the first who asks.

        Args:
            inputs: ``(B, 3, h, w)``, normalised for the student.
        """
        if self._tapped is None:
            own = inputs.float() if self._converter is None else self._converter(inputs.float())
            self._tapped = self._average(own)
        return self._tapped

    def follow(self, network: nn.Module) -> None:
        """Take a step towards the network; the next batch is another."""
        self._average.average(network)
        self._tapped = None

    def state_dict(self) -> dict[str, Any]:
        """State that a resumed run needs."""
        return self._average.own_state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave.

        Raises:
            ICKDError: if it is of another network.
        """
        self._average.load_own_state(state)
