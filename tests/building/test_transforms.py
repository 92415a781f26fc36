"""Classification of transforms: random, geometric, loading."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose

from mmickd.building.transforms import PipelineStep, flatten, name_of, signature, trace
from mmickd.utils.random_state import draws_random_numbers


def load(results: dict[str, Any]) -> dict[str, Any]:
    return dict(results, img=np.full((6, 8, 3), results["value"], np.uint8), gt_label=1)


def pack(results: dict[str, Any]) -> dict[str, Any]:
    image = torch.from_numpy(results["img"].copy()).permute(2, 0, 1)
    return dict(inputs=image, data_samples=results["gt_label"])


def gray(results: dict[str, Any]) -> dict[str, Any]:
    return dict(results, img=results["img"][..., :1])


def channels_first(results: dict[str, Any]) -> dict[str, Any]:
    return dict(results, img=results["img"].transpose(2, 0, 1))


def halve(results: dict[str, Any]) -> dict[str, Any]:
    return dict(results, img=results["img"][::2, ::2])


def crop_large(results: dict[str, Any]) -> dict[str, Any]:
    return dict(results, img=results["img"][:4]) if results["value"] == 1 else results


def fails(results: dict[str, Any]) -> dict[str, Any]:
    raise OSError("not in this store")


def hidden_draw(results: dict[str, Any]) -> dict[str, Any]:
    """Change the image by random numbers of the operating system."""
    return dict(
        results, img=results["img"] + np.frombuffer(random.SystemRandom().randbytes(3), "u1")
    )


class Draws:
    """Transform that draws from a generator without an effect."""

    def __init__(self, generator: Any, draw: Any) -> None:
        self.parts = [dict(generator=generator)]
        self.draw = draw

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        self.draw(self.parts[0]["generator"])
        return results


def drawing_transforms() -> dict[str, Draws]:
    return dict(
        python=Draws(random.Random(0), lambda g: g.random()),
        numpy=Draws(np.random.default_rng(0), lambda g: g.random()),
        legacy=Draws(np.random.RandomState(0), lambda g: g.rand()),
        torch=Draws(torch.Generator(), lambda g: torch.rand(2, generator=g)),
        shared=Draws(None, lambda g: np.random.rand()),
    )


def steps_of(*transforms: Any, values: tuple[int, ...] = (0, 1, 2)) -> list[PipelineStep]:
    return trace(list(transforms), [dict(value=value) for value in values]).steps


@pytest.mark.parametrize("kind", drawing_transforms())
def test_a_transform_that_draws_is_random(kind: str) -> None:
    drawing = drawing_transforms()[kind]
    assert [step.is_random for step in steps_of(load, drawing, pack)] == [False, True, False]


def test_a_transform_whose_result_changes_is_random() -> None:
    assert [step.is_random for step in steps_of(load, hidden_draw)] == [False, True]


def test_tracing_draws_nothing_and_changes_no_transform() -> None:
    drawing = Draws(np.random.default_rng(0), lambda g: g.random() + np.random.rand())
    assert not draws_random_numbers(lambda: steps_of(load, drawing))
    assert drawing.parts[0]["generator"].random() == np.random.default_rng(0).random()


def test_geometric_transforms_change_the_size_of_a_loaded_image() -> None:
    steps = steps_of(load, gray, channels_first, halve, crop_large)
    assert [step.is_geometry for step in steps] == [False, False, False, True, False]
    steps = steps_of(load, crop_large, pack)
    assert [step.is_geometry for step in steps] == [False, True, False]
    assert [step.has_image for step in steps] == [False, True, True]
    assert [step.packs for step in steps] == [False, False, True]


def test_transforms_of_mmcv_and_mmseg_are_classified_by_their_class() -> None:
    from mmcv.transforms import CenterCrop, LoadImageFromFile, Pad, RandomFlip, Resize
    from mmseg.datasets.transforms import PhotoMetricDistortion, RandomCrop, RandomMosaic

    transforms = [
        LoadImageFromFile(), Resize(scale=(8, 8)), CenterCrop(8), Pad(size=(8, 8)),
        RandomFlip(prob=0.5), RandomCrop((8, 8)), RandomMosaic(1.0), PhotoMetricDistortion(),
    ]  # fmt: skip
    steps = trace(transforms, []).steps
    assert [step.is_geometry for step in steps] == [False, True, True, True] + [False] * 4
    assert [step.is_random for step in steps[:7]] == [False] * 4 + [True] * 3
    # its class has no marker: it is classified by running it
    image = dict(img=np.zeros((8, 8, 3), np.uint8))
    assert trace([transforms[-1]], [image] * 2).steps[0].is_random


def test_nested_transforms_that_are_always_applied_are_flattened() -> None:
    from mmcv.transforms import RandomApply, RandomChoice

    assert flatten(Compose([load, Compose([gray, pack])])) == [load, gray, pack]
    assert flatten(RandomApply([halve], prob=1.0)) == [halve]
    assert flatten(RandomChoice([[halve]])) == [halve]
    for wrapper in (RandomApply([gray], prob=0.5), RandomChoice([[gray], [halve]])):
        steps = steps_of(load, wrapper, pack)
        assert [step.is_random for step in steps] == [False, True, False]


def test_tracing_continues_with_the_loaded_image_if_a_transform_fails() -> None:
    first = trace([load, gray, pack], [dict(value=3)])
    assert first.loaded[0]["img"].shape == (6, 8, 1)
    second = trace([fails, halve], [dict(value=3)], first.loaded)
    assert [step.is_geometry for step in second.steps] == [False, True]
    assert not trace([fails, halve], [dict(value=3)]).steps[1].is_geometry


def swap(results: dict[str, Any]) -> dict[str, Any]:
    return dict(results, gt_label=2 - results["gt_label"] * 2)


def swap_and_crop(results: dict[str, Any]) -> dict[str, Any]:
    return halve(swap(results))


def noise(results: dict[str, Any]) -> dict[str, Any]:
    return dict(results, gt_label=random.SystemRandom().random())


def test_labels_that_are_mapped_deterministically_are_detected() -> None:
    assert [step.maps_labels for step in steps_of(load, swap)] == [False, True]
    assert not steps_of(load, swap)[1].hides_labels  # the bank keeps this transform
    assert steps_of(load, swap_and_crop)[1].hides_labels
    assert not steps_of(load, noise)[1].hides_labels


def test_the_signature_depends_on_the_changes_of_the_image_alone() -> None:
    from mmcv.transforms import LoadImageFromFile
    from mmpretrain.datasets import PackInputs

    assert signature(LoadImageFromFile()) == signature(LoadImageFromFile())
    assert signature(LoadImageFromFile()) != signature(LoadImageFromFile(color_type="grayscale"))
    assert signature(PackInputs()) == signature(PackInputs(meta_keys=("img_path",)))
    assert signature(PackInputs()) != signature(PackInputs(input_key="depth"))
    assert signature(load) == signature(load) != signature(gray)
    assert name_of(load) == "load" and name_of(LoadImageFromFile()) == "LoadImageFromFile"
