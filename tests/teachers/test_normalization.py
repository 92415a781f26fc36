"""From the student's normalised input to the teacher's."""

import itertools

import pytest
import torch
from mmengine.model import ImgDataPreprocessor

from mmickd.teachers.normalization import InputConverter, InputNormalization
from mmickd.utils.errors import ICKDError

MEANS = [None, [120.0, 110.0, 100.0], [10.0, 20.0, 30.0]]


def preprocessors():
    """Every kind: with and without values, in both orders of the channels."""
    from mmpretrain.models.utils.data_preprocessor import ClsDataPreprocessor
    from mmseg.models import SegDataPreProcessor

    made = []
    for mean, swap in itertools.product(MEANS, (False, True)):
        std = None if mean is None else [60.0, 50.0, mean[2]]
        made += [
            ClsDataPreprocessor(mean=mean, std=std, to_rgb=swap),
            SegDataPreProcessor(mean=mean, std=std, bgr_to_rgb=swap),
            ImgDataPreprocessor(mean=mean, std=std, bgr_to_rgb=swap),
        ]
    return made


def normalised(preprocessor, images):
    """What the package itself makes of raw images."""
    from mmseg.models import SegDataPreProcessor
    from mmseg.structures import SegDataSample

    data = {"inputs": [image.clone() for image in images]}
    if isinstance(preprocessor, SegDataPreProcessor):
        data["data_samples"] = [SegDataSample() for _ in images]
    return preprocessor(data, False)["inputs"]


def test_conversion_equals_the_teachers_own_preprocessor():
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    made = preprocessors()
    differing = 0
    for source, target in itertools.product(made, made):
        converter = InputConverter(InputNormalization.read(source), InputNormalization.read(target))
        inputs, want = normalised(source, images).float(), normalised(target, images).float()
        got = converter(inputs)
        assert torch.allclose(got, want, atol=2e-4, rtol=1e-5)
        differing += not torch.allclose(inputs, want, atol=1e-3)
    assert differing > 100


def preprocessors_of(channels):
    """Preprocessors for images of a number of channels, with and without values and a swap."""
    from mmpretrain.models.utils.data_preprocessor import ClsDataPreprocessor
    from mmseg.models import SegDataPreProcessor

    made = []
    for swap in (False, True):
        made += [
            ClsDataPreprocessor(to_rgb=swap),
            SegDataPreProcessor(bgr_to_rgb=swap),
            SegDataPreProcessor(rgb_to_bgr=swap),
            SegDataPreProcessor(mean=[90.0], std=[60.0], bgr_to_rgb=swap),
            ClsDataPreprocessor(mean=[100.0], std=[50.0], to_rgb=swap),
            ClsDataPreprocessor(
                mean=[10.0 * i for i in range(channels)],
                std=[40.0 + i for i in range(channels)],
                to_rgb=swap,
            ),
        ]
    return made


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_images_of_any_number_of_channels(channels):
    """Preprocessors reverse three channels only; the flags of the others mean nothing."""
    images = torch.randint(0, 256, (2, channels, 8, 8), dtype=torch.uint8)
    made = preprocessors_of(channels)
    for source, target in itertools.product(made, made):
        got = InputConverter(InputNormalization.read(source), InputNormalization.read(target))(
            normalised(source, images)
        )
        assert torch.allclose(got, normalised(target, images), atol=2e-4, rtol=1e-5)


def test_gray_images_under_three_means():
    """One channel less three numbers is three channels, which no preprocessor reverses."""
    from mmpretrain.models.utils.data_preprocessor import ClsDataPreprocessor

    gray = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    values = dict(mean=[120.0, 110.0, 100.0], std=[60.0, 50.0, 40.0])
    source, target = (ClsDataPreprocessor(**values, to_rgb=swap) for swap in (False, True))
    converter = InputConverter(InputNormalization.read(source), InputNormalization.read(target))
    assert torch.allclose(converter(normalised(source, gray)), normalised(target, gray), atol=1e-4)


def test_equal_normalisations_are_the_identity():
    for preprocessor in preprocessors():
        own = InputNormalization.read(preprocessor)
        converter = InputConverter(own, InputNormalization.read(preprocessor))
        x = torch.randn(1, 3, 2, 2)
        assert converter(x) is x


def test_a_mean_of_one_number_is_the_same_as_three():
    one = InputNormalization(torch.full((1, 1, 1), 5.0), torch.full((1, 1, 1), 2.0), False)
    three = InputNormalization(torch.full((3, 1, 1), 5.0), torch.full((3, 1, 1), 2.0), False)
    assert one.equals(three) and three.equals(one)
    assert not one.equals(InputNormalization(one.mean, one.std, True))


@pytest.mark.parametrize("changed", ["mean", "std"])
def test_any_difference_counts(changed):
    values = dict(mean=torch.zeros(3, 1, 1), std=torch.ones(3, 1, 1))
    other = {**values, changed: values[changed] + torch.tensor([0, 0, 1e-3])[:, None, None]}
    one = InputNormalization(**values, swaps_channels=False)
    assert not one.equals(InputNormalization(**other, swaps_channels=False))


def test_nothing_of_the_converter_is_saved():
    own = InputNormalization.read(preprocessors()[0])
    assert not InputConverter(own, own).state_dict()


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_images_of_other_channels_are_refused(channels):
    three = InputNormalization(torch.zeros(3, 1, 1), torch.ones(3, 1, 1), False)
    other = InputNormalization(torch.zeros(channels, 1, 1), torch.ones(1, 1, 1), False)
    with pytest.raises(ICKDError, match=rf"those of the teacher {channels} and 1\."):
        InputConverter(three, other)
    InputConverter(three, InputNormalization(torch.zeros(1, 1, 1), torch.ones(3, 1, 1), False))
