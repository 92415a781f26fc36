"""Conversion of inputs from the student's normalisation to the teacher's."""

import itertools

import pytest
import torch
from mmengine.model import ImgDataPreprocessor

from mmickd.teachers.normalization import InputConverter, InputNormalization
from mmickd.utils.errors import ICKDError


def preprocessors(channels):
    """Return preprocessors of all kinds, with and without values, in both channel orders."""
    from mmpretrain.models.utils.data_preprocessor import ClsDataPreprocessor
    from mmseg.models import SegDataPreProcessor

    means = [[10.0 * i + shift for i in range(channels)] for shift in (0, 100)]
    values = [dict(mean=mean, std=[40.0 + m for m in mean]) for mean in means]
    values += [{}, dict(mean=[90.0], std=[60.0])]
    result = []
    for options, swap in itertools.product(values, (False, True)):
        count = len(options.get("mean", ()))
        result.append(ClsDataPreprocessor(**options, to_rgb=swap))
        if count in (0, 1, 3):  # the only ones that mmseg and mmengine accept
            result.append(SegDataPreProcessor(**options, bgr_to_rgb=swap))
            result.append(SegDataPreProcessor(**options, rgb_to_bgr=swap))
        if count in (0, 3) and channels == 3:
            result.append(ImgDataPreprocessor(**options, bgr_to_rgb=swap))
    return result


def normalised(preprocessor, images):
    """Return raw images as the preprocessor normalises them."""
    from mmseg.models import SegDataPreProcessor
    from mmseg.structures import SegDataSample

    data = {"inputs": [image.clone() for image in images]}
    if isinstance(preprocessor, SegDataPreProcessor):
        data["data_samples"] = [SegDataSample() for _ in images]
    return preprocessor(data, False)["inputs"].float()


def converter_between(source, target):
    return InputConverter(InputNormalization.read(source), InputNormalization.read(target))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_conversion_equals_the_teachers_preprocessor(channels):
    """Preprocessors reverse three channels only, whatever their options are."""
    images = torch.randint(0, 256, (2, channels, 8, 8), dtype=torch.uint8)
    all_kinds = preprocessors(channels)
    changed = 0
    for source, target in itertools.product(all_kinds, all_kinds):
        inputs, expected = normalised(source, images), normalised(target, images)
        result = converter_between(source, target)(inputs)
        assert torch.allclose(result, expected, atol=2e-4, rtol=1e-5)
        changed += not torch.allclose(inputs, expected, atol=1e-3)
    assert changed > 100


def test_gray_images_under_three_means():
    """One channel minus three means gives three channels, which no preprocessor reverses."""
    from mmpretrain.models.utils.data_preprocessor import ClsDataPreprocessor

    gray = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    values = dict(mean=[120.0, 110.0, 100.0], std=[60.0, 50.0, 40.0])
    source, target = (ClsDataPreprocessor(**values, to_rgb=swap) for swap in (False, True))
    result = converter_between(source, target)(normalised(source, gray))
    assert torch.allclose(result, normalised(target, gray), atol=1e-4)


def test_equal_normalisations_are_the_identity():
    for preprocessor in preprocessors(3):
        x = torch.randn(1, 3, 2, 2)
        assert converter_between(preprocessor, preprocessor)(x) is x


def normalization(mean, std, swaps_channels=False):
    values = (torch.tensor(value, dtype=torch.float)[:, None, None] for value in (mean, std))
    return InputNormalization(*values, swaps_channels)


@pytest.mark.parametrize(
    ("other", "is_identity"),
    [
        (normalization([5, 5, 5], [2, 2, 2]), True),
        (normalization([5], [2, 2, 2]), True),
        (normalization([5], [2], swaps_channels=True), False),
        (normalization([5, 5, 5.001], [2]), False),
        (normalization([5], [2, 2, 2.001]), False),
    ],
)
def test_only_equal_values_are_the_identity(other, is_identity):
    single = normalization([5], [2])
    for pair in ((single, other), (other, single)):
        assert InputConverter(*pair).identity is is_identity


def test_the_converter_has_no_state():
    preprocessor = preprocessors(3)[0]
    assert not converter_between(preprocessor, preprocessor).state_dict()


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_other_numbers_of_channels_are_refused(channels):
    three = normalization([0, 0, 0], [1, 1, 1])
    with pytest.raises(ICKDError, match=rf"teacher {channels} and 1\."):
        InputConverter(three, normalization([0] * channels, [1]))
    InputConverter(three, normalization([0], [1, 1, 1]))
