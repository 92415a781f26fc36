"""Thumbnails of the networks' input, in the right colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from PIL import Image

from mmickd.commands.open_run import open_run
from mmickd.gallery.row_locator import GalleryBank
from mmickd.gallery.thumbnails import SIDE, Thumbnails, picture_of
from tests.helpers import toys
from tests.helpers.tiny import plain_config_text


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_files_are_shown_as_they_are(scope: str) -> None:
    cfg = toys.toy(scope).distilled(bank={"cache_dir": None})
    with plain_config_text(), open_run(cfg) as run:
        images = GalleryBank.of(run.ready).images
        thumbnails = Thumbnails({"train": images}, run.distiller.teacher.swaps_channels)
        name = images.name(1)
        shown = thumbnails.picture("train", name)
    assert np.array_equal(np.asarray(shown), np.asarray(Image.open(name)))


@pytest.mark.parametrize(("swaps", "first"), [(False, 2), (True, 0)])
def test_without_a_file_the_data_preprocessor_determines_the_order(swaps: bool, first: int) -> None:
    inputs = torch.zeros(3, 2, 2, dtype=torch.uint8)
    inputs[2] = 9
    shown = picture_of({"inputs": inputs, "data_samples": BaseDataElement()}, swaps)
    assert shown.getpixel((0, 0))[first] == 9


@pytest.mark.parametrize("swaps", [False, True])
def test_other_than_three_channels_are_shown_in_their_order(swaps: bool) -> None:
    """Data preprocessors change the order of three channels only."""
    inputs = torch.arange(4, dtype=torch.uint8)[:, None, None].expand(4, 2, 2)
    shown = picture_of({"inputs": inputs, "data_samples": BaseDataElement()}, swaps)
    assert shown.getpixel((0, 0)) == (0, 1, 2)


def test_grey_and_normalised_images_are_shown_too() -> None:
    grey = torch.linspace(-1, 1, 4).reshape(1, 2, 2)
    shown = picture_of({"inputs": grey, "data_samples": BaseDataElement()}, False)
    assert np.asarray(shown)[..., 0].ravel().tolist() == [0, 85, 170, 255]


def test_large_images_are_reduced() -> None:
    class Images:
        def __len__(self) -> int:
            return 1

        def name(self, index: int) -> str:
            return "a"

        def __getitem__(self, index: int) -> dict:
            inputs = torch.zeros(3, 2 * SIDE, SIDE, dtype=torch.uint8)
            return {"inputs": inputs, "data_samples": BaseDataElement()}

    assert Thumbnails({"val": Images()}, False).picture("val", "a").size == (SIDE // 2, SIDE)
