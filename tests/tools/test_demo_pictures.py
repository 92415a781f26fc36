"""The choice of the demo's queries."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "demo_pictures"))

from retrieved import _choose


class ValidationSet:
    """Images that are their own index; of each its class is known, or not before it is seen."""

    def __init__(self, labels: list[int], told: bool) -> None:
        self.labels, self.told = labels, told
        self.metainfo = dict(classes=tuple("0123456789"))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> int:
        return index

    def get_data_info(self, index: int) -> dict[str, int]:
        return dict(gt_label=self.labels[index]) if self.told else {}


def opened(labels: list[int], told: bool) -> tuple[Any, list[int]]:
    """A run that is opened, and which images its teacher has looked at."""
    seen: list[int] = []

    def view(samples: list[int]) -> SimpleNamespace:
        seen.extend(samples)
        rows = torch.ones(1, 1, 4)
        label = torch.tensor([[labels[samples[0]]]])
        return SimpleNamespace(features=rows, logits=rows, labels=label, ids=torch.tensor([7]))

    val_set = ValidationSet(labels, told)
    return SimpleNamespace(val_set=val_set, view=view, image_path=lambda _, i: f"{i}.png"), seen


def test_the_teacher_looks_only_at_images_that_can_be_the_query() -> None:
    labels = [0] * 8 + [3] * 8
    run, seen = opened(labels, told=True)
    place, sample = _choose(run, "image", 3)  # from image 6 on
    assert (place.path, place.label, sample.ids.tolist()) == ("8.png", 3, [7])
    assert seen == [8]


def test_an_image_with_many_classes_is_looked_into() -> None:
    run, seen = opened([0] * 8 + [3] * 8, told=False)
    assert _choose(run, "image", 3)[0].path == "8.png"
    assert seen == [6, 7, 8]
