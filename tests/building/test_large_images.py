"""Errors for images that do not fit into memory have their size and the options to set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from PIL import Image

from mmickd.building.images import BankImages
from mmickd.building.large_images import explain_large_batches, explain_large_image
from mmickd.building.pipeline_checks import check_first_sample, check_pipelines
from mmickd.building.pipelines import BankPipeline
from mmickd.utils.errors import ICKDError, is_out_of_memory
from tests.helpers import toys
from tests.helpers.tiny import plain_config_text, run

ERRORS = [
    MemoryError(),
    cv2.error("OpenCV(4.10.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    OSError(12, "Cannot allocate memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("It is possible that dataloader's workers are out of shared memory."),
]
REMEDY = r".*bank\.pipeline.*(Resize|crop).*bank\.batch_size"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_out_of_memory_errors_of_every_library_are_explained(error: Exception) -> None:
    assert is_out_of_memory(error)
    sample = dict(inputs=torch.zeros(3, 5, 7))
    expected = r"a\.png.* 5x7 pixels" + REMEDY
    with pytest.raises(ICKDError, match=expected), explain_large_image("a.png", sample):
        raise error
    expected = r"bank\.batch_size to less than 2 .*bank\.capacity_per"
    with pytest.raises(ICKDError, match=expected), explain_large_batches(2):
        raise error
    with pytest.raises(ICKDError) as caught, explain_large_batches(1):
        raise error
    assert "bank.batch_size" not in str(caught.value) and "bank.pipeline" in str(caught.value)


def test_other_errors_are_not_explained() -> None:
    for context in (explain_large_image("a.png"), explain_large_batches(2)):
        with pytest.raises(KeyError), context:
            raise KeyError("img")


class Files(BaseDataset):
    """Data set of one image file."""

    def __init__(self, path: str, pipeline: Any) -> None:
        self.path = path
        super().__init__(pipeline=pipeline)

    def load_data_list(self) -> list[dict[str, Any]]:
        return [dict(img_path=self.path)]


def too_large(results: Any) -> Any:
    raise np._core._exceptions._ArrayMemoryError((9, 9), np.dtype("u1"))  # type: ignore[attr-defined]


def test_the_error_of_an_image_that_cannot_be_loaded_has_its_size(tmp_path: Path) -> None:
    path = str(tmp_path / "huge.png")
    Image.new("L", (30, 20)).save(path)
    files = Files(path, [too_large])
    expected = r"huge\.png.* 20x30 pixels.* read" + REMEDY
    with pytest.raises(ICKDError, match=expected):
        check_first_sample(BankImages(files, [too_large]), bool)
    pipeline = BankPipeline(too_large, "", too_large, loading=too_large)
    with pytest.raises(ICKDError, match=expected):
        check_pipelines(files, [pipeline])


def test_the_error_of_a_teacher_on_a_whole_image_has_its_size(monkeypatch: Any) -> None:
    """The device has memory for training's crops alone."""
    from mmseg.models import ResNetV1c

    forward = ResNetV1c.forward

    def on_small_device(self: Any, x: torch.Tensor) -> Any:
        if x.shape[-1] > 32:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return forward(self, x)

    monkeypatch.setattr(ResNetV1c, "forward", on_small_device)
    cfg = toys.segmenter().distilled()
    with plain_config_text(), pytest.raises(ICKDError, match=r"\.png.* 48x64 pixels" + REMEDY):
        run(cfg)
