"""Views of segmenters, their labels, and the checks of samples and heads."""

import re

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from mmickd.losses.schedules import TrainProgress
from mmickd.losses.terms import LossTerms
from mmickd.structures import Tapped
from mmickd.tasks import SegmentationTask, task_for
from mmickd.utils.errors import ICKDError
from tests.helpers.task_cases import Head, model, scene, tapped, view_of


@pytest.mark.parametrize("align_corners", [False, True])
def test_every_banked_pixel_has_the_label_of_its_place(align_corners):
    """The features hold the position of their cell; the ground truth is read there by hand."""
    grid, shape = (4, 6), (33, 47)
    g = torch.Generator().manual_seed(0)
    gt = torch.randint(0, 4, shape, generator=g)
    gt[gt == 3] = 255
    ys, xs = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    teacher = Tapped(torch.stack([torch.ones(grid), ys, xs])[None], torch.randn(1, 3, *grid))
    task = SegmentationTask(255, False, align_corners)
    view = view_of(task, teacher, [scene(gt)], shape)
    samples, _ = task.levels["pixel"].bank_rows(view, 100, 0)
    assert 0 < len(samples) < 24
    places = (samples.features / samples.features[:, :1])[:, 1:].round().int().tolist()
    assert len({tuple(p) for p in places}) == len(samples)
    for (y, x), label in zip(places, samples.labels.tolist(), strict=True):
        if align_corners:
            pixel = (round(y * 32 / 3), round(x * 46 / 5))
        else:
            pixel = (int((y + 0.5) * 33 / 4), int((x + 0.5) * 47 / 6))
        assert int(gt[pixel]) == label != 255


def test_a_void_label_inside_of_the_classes_is_never_a_class():
    gt = torch.zeros(8, 8)
    gt[:, 4:] = 2
    view = view_of(SegmentationTask(ignore_index=2), tapped(grid=(2, 2)), [scene(gt)], (8, 8))
    assert view.labels.tolist() == [[0, -1, 0, -1]]
    assert view.valid.tolist() == [[True, False, True, False]]


def test_ground_truth_of_the_original_size_and_padding():
    """The image was halved to 16x16 and padded to 16x32; its ground truth is still 32x32."""
    gt = torch.zeros(32, 32)
    gt[16:] = 1
    sample = scene(gt)
    sample.set_metainfo(dict(img_shape=(16, 16)))
    view = view_of(SegmentationTask(), tapped(grid=(2, 4)), [sample], (16, 32))
    assert view.labels.view(2, 4).tolist() == [[0, 0, -1, -1], [1, 1, -1, -1]]
    # shares of the image, not of the padded input
    assert view.places()[0, [0, 1, 5]].tolist() == [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75]]


def labelled(data):
    """Return a data sample with this label map, as PackSegInputs packs it."""
    sample = scene(torch.zeros(2, 2))
    sample.gt_sem_seg = PixelData()
    sample.gt_sem_seg.set_field(data, "data")
    return sample


@pytest.mark.parametrize("shape", [(8, 6, 3), (8, 6, 2), (3, 8, 6), (2, 8, 6), (8,)], ids=str)
def test_label_maps_of_several_channels_are_refused(shape):
    task, sample = SegmentationTask(), labelled(torch.zeros(shape).long())
    with pytest.raises(ICKDError, match=rf"map x\.png .*{re.escape(str(shape))}.*one channel"):
        task.check_sample(sample, "x.png")
    for read in (
        lambda: task.bad_labels(sample, 3),
        lambda: view_of(task, tapped(grid=(2, 2)), [sample], (8, 6)),
    ):
        with pytest.raises(ICKDError, match=r"label map a\.png"):
            read()
    sample.set_metainfo(dict(seg_map_path="label/7.png"))
    with pytest.raises(ICKDError, match=r"label map label/7\.png"):
        task.check_sample(sample, "x.png")


@pytest.mark.parametrize("shape", [(8, 6), (1, 8, 6)], ids=str)
def test_label_maps_of_one_channel_are_accepted(shape):
    task, sample = SegmentationTask(), labelled(torch.ones(shape).long())
    task.check_sample(sample)
    assert task.bad_labels(sample, 1) == [1]
    assert view_of(task, tapped(grid=(2, 2)), [sample], (8, 6)).labels.tolist() == [[1] * 4]


def test_a_label_map_that_is_no_tensor():
    with pytest.raises(ICKDError, match=r"x\.png is a ndarray of shape \(1, 4, 4\)"):
        SegmentationTask().check_sample(labelled(np.zeros((1, 4, 4))), "x.png")
    with pytest.raises(ICKDError, match=r"x\.png has no label.*SegDataSample"):
        SegmentationTask().check_sample(SegDataSample(), "x.png")


def test_ground_truth_padded_with_the_image():
    gt = torch.full((16, 32), 255)
    gt[:, :16] = 1
    sample = scene(gt)
    sample.set_metainfo(dict(img_shape=(16, 16)))
    view = view_of(SegmentationTask(), tapped(grid=(2, 4)), [sample], (16, 32))
    assert view.labels.view(2, 4).tolist() == [[1, 1, -1, -1]] * 2


@pytest.mark.parametrize("align_corners", [False, True])
def test_unequal_grids_resize_the_students_logits_alone(align_corners):
    teacher = tapped(grid=(8, 8))
    student = torch.randn(1, 3, 4, 4, requires_grad=True)
    task = SegmentationTask(student_align_corners=align_corners)
    view = view_of(task, teacher, [scene(torch.zeros(16, 16))], (16, 16), student)
    expected = nn.functional.interpolate(
        student, (8, 8), mode="bilinear", align_corners=align_corners
    )
    assert torch.allclose(view.student_logits.view(1, 8, 8, 3).permute(0, 3, 1, 2), expected)
    assert torch.equal(view.logits.view(1, 8, 8, 3).permute(0, 3, 1, 2), teacher.logits)
    assert torch.equal(view.features.view(1, 8, 8, 4).permute(0, 3, 1, 2), teacher.features)
    assert torch.allclose(view.student_features(), view.student_logits + 1, atol=1e-5)
    view.student_logits.sum().backward()
    assert student.grad is not None


def test_segmentation_refuses():
    task = SegmentationTask()
    gt = torch.zeros(8, 8)
    with pytest.raises(ICKDError, match=r"teacher\.layer"):
        view_of(task, Tapped(torch.randn(1, 5), torch.randn(1, 3)), [scene(gt)], (8, 8))
    with pytest.raises(ICKDError, match=r"teacher\.layer"):
        unequal = Tapped(torch.randn(1, 5, 3, 3), torch.randn(1, 3, 2, 2))
        view_of(task, unequal, [scene(gt)], (8, 8))
    gt[0, 0], gt[0, 1], gt[0, 2] = 7, 255, 2
    assert task.bad_labels(scene(gt), 3) == [7]
    assert task.has_label(scene(gt)) and not task.has_label(SegDataSample())


def test_binary_heads_are_refused():
    with pytest.raises(ICKDError, match="out_channels=1"):
        SegmentationTask().check_student(model(Head(), Head(out_channels=1)))
    SegmentationTask().check_student(model(Head(out_channels=1), Head(out_channels=2)))


def head_of_losses(*losses):
    """Return a decode head of mmseg with these losses."""
    from mmseg.models import FCNHead

    loss_decode = [dict(type=f"mmseg.{name}", **options) for name, options in losses]
    single = loss_decode[0] if len(loss_decode) == 1 else loss_decode
    return FCNHead(in_channels=3, channels=3, num_classes=3, num_convs=1, loss_decode=single)


SOFTMAX, SIGMOID = ("CrossEntropyLoss", {}), ("CrossEntropyLoss", dict(use_sigmoid=True))
DICE, LOVASZ = ("DiceLoss", {}), ("LovaszLoss", dict(reduction="none"))
OHEM = ("OhemCrossEntropy", {})


@pytest.mark.parametrize("losses", [[SIGMOID], [SIGMOID, DICE], [SIGMOID, LOVASZ], [DICE]])
def test_heads_with_sigmoid_losses_are_refused(losses):
    with pytest.raises(ICKDError, match=r"loss_decode.*own sigmoid"):
        SegmentationTask().check_student(model(head_of_losses(*losses)))


@pytest.mark.parametrize(
    "losses", [[SOFTMAX], [SOFTMAX, DICE], [SOFTMAX, LOVASZ], [LOVASZ], [DICE, OHEM]]
)
def test_heads_with_softmax_losses_are_accepted(losses):
    """Stock U-Nets have a DiceLoss, whose default is the sigmoid, beside the cross entropy."""
    SegmentationTask().check_student(model(head_of_losses(*losses)))


def test_the_losses_of_auxiliary_heads_do_not_matter():
    student = model(head_of_losses(SIGMOID), head_of_losses(SOFTMAX))
    student.auxiliary_head = head_of_losses(SIGMOID)
    SegmentationTask().check_student(student)
    other = head_of_losses(SOFTMAX)
    other.loss_se_decode = nn.BCEWithLogitsLoss()  # as EncHead has it
    SegmentationTask().check_student(model(other))


def test_a_head_whose_loss_has_another_name():
    head = Head()
    head.criterion = nn.BCEWithLogitsLoss()
    with pytest.raises(ICKDError, match=r"BCEWithLogitsLoss.*own sigmoid"):
        SegmentationTask().check_student(model(head))


def test_the_task_is_read_from_the_heads_that_predict():
    student = model(Head(ignore_index=3), Head(ignore_index=11, align_corners=True))
    task = task_for(student, model(Head(align_corners=False)))
    assert isinstance(task, SegmentationTask)
    assert task.ignore_index == 11
    assert task.student_align_corners and not task.teacher_align_corners
    assert task_for(model(Head()), model(Head(align_corners=True))).teacher_align_corners
    assert task_for(model(Head()), nn.Module()).ignore_index == 255


@pytest.mark.parametrize("kind", ["KDLoss", "DKDLoss"])
def test_kd_of_pixels_is_at_the_anchors(kind):
    def build(**options):
        losses = dict(kd=dict(type=kind, **options))
        return LossTerms.build(losses, SegmentationTask.loss_defaults)["kd"].loss

    assert (build().is_dense, build().temperature) == (False, 4.0)
    assert build(dense=True).is_dense
    assert LossTerms.build(dict(kd=dict(type=kind)))["kd"].loss.is_dense


def test_pixels_have_three_terms_and_few_negatives():
    terms = LossTerms.build(None, SegmentationTask.loss_defaults)
    assert terms.weights(TrainProgress(0, 10, 10)) == {"kd": 1.0, "picd": 0.3, "nicd": 4.0}
    assert terms.weights(TrainProgress(5, 10, 10))["nicd"] == 2.0
    assert terms["nicd"].loss.num_negatives == 4
