"""Features to retrieve by, from another layer of the teacher than its classifier's input."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from mmickd.networks.taps import Tap
from mmickd.structures import Tapped
from mmickd.tasks import Task
from mmickd.utils.errors import ICKDError


class FeatureLayer:
    """Puts the output of a layer in the place of the features that the classifier takes.

    Args:
        model: the teacher's network.
        layer: name of the layer.
        cells: per side that its maps are averaged to, where an image has one location; one cell if
            the first maps have one (they are averaged already). The number is then kept, so that
            the bank and queries are equally wide.

    Raises:
        ICKDError: if there is no such layer.
    """

    def __init__(self, model: nn.Module, layer: str, cells: int) -> None:
        self._tap, self._cells = Tap(model, layer), cells
        self._is_read = False

    def read(self, run: Callable[[], Tapped], task: Task) -> Tapped:
        """What the classifier was tapped for, with features of this layer.

        Args:
            run: runs the network.
            task: places the output of a layer at the locations of the logits.

        Raises:
            ICKDError: if the layer gives no tensor, or one that cannot be placed.
        """
        self._tap.arm()
        try:
            tapped = run()
        finally:
            taken = self._tap.take()
        if taken is None or not isinstance(taken.logits, Tensor):
            raise ICKDError(
                f"teacher.features: the teacher's layer '{self._tap.layer}' gives no tensor in its "
                "forward pass. Name another one, a stage of the backbone ('backbone.layer3')."
            )
        output = taken.logits.float()  # what the tap calls so is the output of any layer
        if not self._is_read and output.ndim == 4 and output.shape[-2:].numel() == 1:
            self._cells = 1
        self._is_read = True
        return Tapped(task.features_of(output, tapped.logits, self._cells), tapped.logits)
