"""Pictures for the backends of a visualizer, none of which may end a run."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmengine.visualization import Visualizer
from PIL import Image

from mmickd.utils.text import error_text


class PictureWriter:
    """Hands pictures to each backend of a visualizer; the first error of a backend is logged.

    Args:
        visualizer: of mmengine.
    """

    def __init__(self, visualizer: Visualizer) -> None:
        self._targets: list[Any] = [visualizer]
        if type(visualizer).add_image is Visualizer.add_image:  # else it has its own way
            self._targets = list(visualizer._vis_backends.values())
        self._failed: set[int] = set()

    def add(self, name: str, picture: Image.Image, step: int) -> None:
        """Write a picture.

        Args:
            name: of the picture.
            picture: RGB.
            step: of the run.
        """
        for number, target in enumerate(self._targets):
            try:
                target.add_image(name, np.asarray(picture), step)
            except Exception as error:  # whatever a backend, its server or the disk raises
                if number not in self._failed:
                    self._failed.add(number)
                    print_log(
                        f"{type(target).__name__} does not take the picture {name} "
                        f"({type(error).__name__}: {error_text(error)}). Everything else goes on; "
                        "this is not logged again. Look at visualizer.vis_backends.",
                        logger="current",
                        level=logging.WARNING,
                    )
