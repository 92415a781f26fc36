"""Pictures for working and failing backends of a visualizer."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmengine.visualization import Visualizer
from PIL import Image

from mmickd.gallery.output import PictureWriter

PICTURE = Image.new("RGB", (4, 2), "#ff0000")


class Backend:
    """Backend that keeps its pictures; it fails as long as ``error`` is set."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.pictures: list[tuple[str, int]] = []

    def add_image(self, name: str, image: np.ndarray, step: int = 0) -> None:
        if self.error is not None:
            raise self.error
        assert image.shape == (2, 4, 3) and image[0, 0].tolist() == [255, 0, 0]
        self.pictures.append((name, step))


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    logger = MMLogger.get_instance("backends")
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    monkeypatch.setattr(handler, "emit", lambda record: messages.append(record.getMessage()))
    monkeypatch.setattr(logger, "handlers", [handler])
    return messages


def visualizer(*backends: Backend) -> Visualizer:
    visualizer = Visualizer("backends")
    visualizer._vis_backends = {str(number): backend for number, backend in enumerate(backends)}
    return visualizer


def test_a_backend_that_fails_is_logged_once_and_the_others_get_their_pictures(
    warnings: list[str],
) -> None:
    bad, good = Backend(OSError("disk\nis full")), Backend()
    writer = PictureWriter(visualizer(bad, good))
    for step in (1, 2):
        writer.add("context_0", PICTURE, step)
    assert good.pictures == [("context_0", 1), ("context_0", 2)]
    assert len(warnings) == 1 and "Backend" in warnings[0] and "disk is full" in warnings[0]
    bad.error = None
    writer.add("context_0", PICTURE, 3)
    assert bad.pictures == [("context_0", 3)] and len(warnings) == 1


def test_each_backend_has_its_warning(warnings: list[str]) -> None:
    PictureWriter(visualizer(Backend(ValueError()), Backend(ValueError()))).add("a", PICTURE, 0)
    assert len(warnings) == 2


def test_a_visualizer_with_its_own_add_image_is_used(warnings: list[str]) -> None:
    class MyVisualizer(Visualizer):
        def add_image(self, name: str, image: Any, step: int = 0) -> None:
            names.append(f"{name} {step}")

    names: list[str] = []
    PictureWriter(MyVisualizer("backends")).add("a", PICTURE, 5)
    assert names == ["a 5"] and not warnings
