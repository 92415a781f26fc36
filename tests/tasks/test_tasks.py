"""Taps and data samples to views."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from mmickd.sampling import image_id
from mmickd.structures import Batch, Tapped
from mmickd.tasks import ClassificationTask, SegmentationTask, task_for
from mmickd.tasks.base import data_sample_id
from mmickd.utils.errors import ICKDError


def scene(gt, **meta):
    sample = SegDataSample(metainfo=dict(img_path="a.png", img_shape=tuple(gt.shape), **meta))
    sample.gt_sem_seg = PixelData(data=gt[None].long())
    return sample


def tapped(b=1, d=4, c=3, grid=(4, 6)):
    return Tapped(torch.randn(b, d, *grid), torch.randn(b, c, *grid))


def see(task, teacher, samples, shape, student_logits=None):
    """The view of a batch of inputs of this shape."""
    batch = Batch(torch.empty(len(samples), 3, *shape), samples)
    student = None if student_logits is None else Tapped(student_logits + 1, student_logits)
    return task.view(teacher, batch, student)


def picture(label=None, score=None, path="a.png"):
    from mmpretrain.structures import DataSample

    sample = DataSample(metainfo=dict(img_path=path))
    if label is not None:
        sample.set_gt_label(label)
    if score is not None:
        sample.set_gt_score(torch.tensor(score))
    return sample


def test_classification_view():
    teacher = Tapped(torch.randn(2, 5), torch.randn(2, 3))
    student = torch.randn(2, 3)
    samples = [picture(2, path="x.png"), picture(0, path="y.png")]
    view = see(ClassificationTask(), teacher, samples, (8, 8), student)
    assert view.labels.tolist() == [[2], [0]] and bool(view.valid.all())
    assert view.ids.tolist() == [image_id("x.png"), image_id("y.png")]
    assert torch.equal(view.features[:, 0], teacher.features)
    assert torch.equal(view.student_logits[:, 0], student)
    assert torch.equal(view.student_features()[:, 0], student + 1)


def test_mixed_images_have_no_label_but_count_for_kd():
    samples = [
        picture(1, [0.0, 0.3, 0.7]),
        picture(1, [0.0, 0.0, 1.0]),  # mixed with itself, or not at all: the score tells
        picture(0, [1.0, 0.0, 0.0]),
        picture(2),
    ]
    teacher = Tapped(torch.randn(4, 5), torch.randn(4, 3))
    view = see(ClassificationTask(), teacher, samples, (8, 8), torch.randn(4, 3))
    assert view.labels.tolist() == [[-1], [2], [0], [2]]
    assert bool(view.valid.all())
    asked = ClassificationTask.levels["image"].ask(view, 1, 0)
    assert asked.labels.tolist() == [[-1], [2], [0], [2]]


def test_the_mixers_of_mmpretrain():
    from mmpretrain.models.utils.batch_augments import CutMix, Mixup
    from mmpretrain.models.utils.data_preprocessor import ClsDataPreprocessor

    for mixer in (Mixup(alpha=1.0), CutMix(alpha=1.0)):
        preprocessor = ClsDataPreprocessor(
            num_classes=3, batch_augments=dict(augments=[]), to_onehot=False
        )
        preprocessor.batch_augments = lambda inputs, score, mixer=mixer: mixer(inputs, score)
        data = dict(
            inputs=[torch.randint(0, 255, (3, 8, 8), dtype=torch.uint8) for _ in range(3)],
            data_samples=[picture(i) for i in range(3)],
        )
        torch.manual_seed(1)
        np.random.seed(0)  # the mixers draw from numpy
        out = preprocessor(data, True)
        teacher = Tapped(torch.randn(3, 5), torch.randn(3, 3))
        view = see(ClassificationTask(), teacher, out["data_samples"], (8, 8))
        scores = [s.gt_score.max() for s in out["data_samples"]]
        assert min(scores) < 0.999
        for label, sample in zip(view.labels[:, 0].tolist(), out["data_samples"], strict=True):
            whole = float(sample.gt_score.max()) > 0.999
            assert label == (int(sample.gt_score.argmax()) if whole else -1)


def test_classification_refuses():
    task = ClassificationTask()
    with pytest.raises(ICKDError, match=r"teacher\.layer"):
        see(task, tapped(), [picture(0)], (8, 8))
    with pytest.raises(ICKDError, match="2 labels"):
        task.bad_labels(picture([0, 1]), 3)
    assert task.bad_labels(picture(3), 3) == [3] and task.bad_labels(picture(2), 3) == []
    assert task.has_label(picture(0)) and not task.has_label(picture())
    from mmpretrain.models import MultiLabelLinearClsHead

    student = nn.Module()
    student.head = MultiLabelLinearClsHead(3, 4)
    with pytest.raises(ICKDError, match=r"MultiLabelLinearClsHead.*sigmoid"):
        task.check_student(student)


@pytest.mark.parametrize("align_corners", [False, True])
def test_every_banked_pixel_has_the_label_of_its_place(align_corners):
    """The features say where they come from; the ground truth is read there by hand."""
    grid, shape = (4, 6), (33, 47)
    g = torch.Generator().manual_seed(0)
    gt = torch.randint(0, 4, shape, generator=g)
    gt[gt == 3] = 255
    ys, xs = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    teacher = Tapped(torch.stack([torch.ones(grid), ys, xs])[None], torch.randn(1, 3, *grid))
    task = SegmentationTask(255, False, align_corners)
    view = see(task, teacher, [scene(gt)], shape)
    samples, _ = task.levels["pixel"].offer(view, 100, 0)
    assert 0 < len(samples) < 24
    places = (samples.features / samples.features[:, :1])[:, 1:].round().int().tolist()
    assert len({tuple(p) for p in places}) == len(samples)
    for (y, x), label in zip(places, samples.labels.tolist(), strict=True):
        if align_corners:
            at = (round(y * 32 / 3), round(x * 46 / 5))
        else:
            at = (int((y + 0.5) * 33 / 4), int((x + 0.5) * 47 / 6))
        assert int(gt[at]) == label != 255


def test_a_void_label_inside_of_the_classes_is_never_a_class():
    gt = torch.zeros(8, 8)
    gt[:, 4:] = 2
    view = see(SegmentationTask(ignore_index=2), tapped(grid=(2, 2)), [scene(gt)], (8, 8))
    assert view.labels.tolist() == [[0, -1, 0, -1]]
    assert view.valid.tolist() == [[True, False, True, False]]


def test_ground_truth_of_the_original_size_and_padding():
    """The image was halved to 16x16 and padded to 16x32; its ground truth is still 32x32."""
    gt = torch.zeros(32, 32)
    gt[16:] = 1
    sample = scene(gt)
    sample.set_metainfo(dict(img_shape=(16, 16)))
    view = see(SegmentationTask(), tapped(grid=(2, 4)), [sample], (16, 32))
    assert view.labels.view(2, 4).tolist() == [[0, 0, -1, -1], [1, 1, -1, -1]]


def test_ground_truth_padded_with_the_image():
    gt = torch.full((16, 32), 255)
    gt[:, :16] = 1
    sample = scene(gt)
    sample.set_metainfo(dict(img_shape=(16, 16)))
    view = see(SegmentationTask(), tapped(grid=(2, 4)), [sample], (16, 32))
    assert view.labels.view(2, 4).tolist() == [[1, 1, -1, -1]] * 2


@pytest.mark.parametrize("align_corners", [False, True])
def test_unequal_grids_resize_the_students_logits_alone(align_corners):
    teacher = tapped(grid=(8, 8))
    student = torch.randn(1, 3, 4, 4, requires_grad=True)
    task = SegmentationTask(student_align_corners=align_corners)
    view = see(task, teacher, [scene(torch.zeros(16, 16))], (16, 16), student)
    want = nn.functional.interpolate(student, (8, 8), mode="bilinear", align_corners=align_corners)
    assert torch.allclose(view.student_logits.view(1, 8, 8, 3).permute(0, 3, 1, 2), want)
    assert torch.equal(view.logits.view(1, 8, 8, 3).permute(0, 3, 1, 2), teacher.logits)
    assert torch.equal(view.features.view(1, 8, 8, 4).permute(0, 3, 1, 2), teacher.features)
    assert torch.allclose(view.student_features(), view.student_logits + 1, atol=1e-5)
    view.student_logits.sum().backward()
    assert student.grad is not None


def test_segmentation_refuses():
    task = SegmentationTask()
    gt = torch.zeros(8, 8)
    with pytest.raises(ICKDError, match=r"teacher\.layer"):
        see(task, Tapped(torch.randn(1, 5), torch.randn(1, 3)), [scene(gt)], (8, 8))
    with pytest.raises(ICKDError, match=r"teacher\.layer"):
        unequal = Tapped(torch.randn(1, 5, 3, 3), torch.randn(1, 3, 2, 2))
        see(task, unequal, [scene(gt)], (8, 8))
    gt[0, 0], gt[0, 1], gt[0, 2] = 7, 255, 2
    assert task.bad_labels(scene(gt), 3) == [7]
    assert task.has_label(scene(gt)) and not task.has_label(SegDataSample())


class Head(nn.Module):
    def __init__(self, **values):
        super().__init__()
        self.__dict__.update(values)


def model(*heads):
    module = nn.Module()
    module.decode_head = heads[0] if len(heads) == 1 else nn.ModuleList(heads)
    return module


def test_binary_heads_are_refused():
    with pytest.raises(ICKDError, match="out_channels=1"):
        SegmentationTask().check_student(model(Head(), Head(out_channels=1)))
    SegmentationTask().check_student(model(Head(out_channels=1), Head(out_channels=2)))


def test_the_task_is_read_from_the_heads_that_predict():
    student = model(Head(ignore_index=3), Head(ignore_index=11, align_corners=True))
    task = task_for(student, model(Head(align_corners=False)))
    assert isinstance(task, SegmentationTask)
    assert task.ignore_index == 11
    assert task.student_align_corners and not task.teacher_align_corners
    assert task_for(model(Head()), model(Head(align_corners=True))).teacher_align_corners
    assert task_for(model(Head()), nn.Module()).ignore_index == 255
    assert isinstance(task_for(nn.Module(), nn.Module()), ClassificationTask)


def test_identity_of_an_image():
    def sample(**meta):
        return SimpleNamespace(metainfo=meta)

    assert data_sample_id(sample(img_path="x", sample_idx=3)) == image_id("x")
    assert data_sample_id(sample(img_path=None, sample_idx=3)) == image_id("#3")
    assert data_sample_id(sample(sample_idx=0)) >= 0
    assert data_sample_id(sample()) == -1
