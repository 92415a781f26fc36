"""Views of classifiers, their labels, and the checks of samples and heads."""

import numpy as np
import pytest
import torch
from torch import nn

from mmickd.sampling import image_id
from mmickd.structures import Tapped
from mmickd.tasks import ClassificationTask
from mmickd.utils.errors import ICKDError
from tests.helpers.task_cases import picture, tapped, view_of


def test_classification_view():
    teacher = Tapped(torch.randn(2, 5), torch.randn(2, 3))
    student = torch.randn(2, 3)
    samples = [picture(2, path="x.png"), picture(0, path="y.png")]
    view = view_of(ClassificationTask(), teacher, samples, (8, 8), student)
    assert view.labels.tolist() == [[2], [0]] and bool(view.valid.all())
    assert view.ids.tolist() == [image_id("x.png"), image_id("y.png")]
    assert torch.equal(view.features[:, 0], teacher.features)
    assert torch.equal(view.student_logits[:, 0], student)
    assert torch.equal(view.student_features()[:, 0], student + 1)


def test_mixed_images_have_no_label_but_count_for_kd():
    samples = [
        picture(1, [0.0, 0.3, 0.7]),
        picture(1, [0.0, 0.0, 1.0]),  # mixed with itself, or not at all
        picture(0, [1.0, 0.0, 0.0]),
        picture(2),
    ]
    teacher = Tapped(torch.randn(4, 5), torch.randn(4, 3))
    view = view_of(ClassificationTask(), teacher, samples, (8, 8), torch.randn(4, 3))
    assert view.labels.tolist() == [[-1], [2], [0], [2]]
    assert bool(view.valid.all())
    queries = ClassificationTask.levels["image"].queries(view, 1, 0)
    assert queries.labels.tolist() == [[-1], [2], [0], [2]]


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
        view = view_of(ClassificationTask(), teacher, out["data_samples"], (8, 8))
        scores = [s.gt_score.max() for s in out["data_samples"]]
        assert min(scores) < 0.999
        for label, sample in zip(view.labels[:, 0].tolist(), out["data_samples"], strict=True):
            is_mixed = float(sample.gt_score.max()) <= 0.999
            assert label == (-1 if is_mixed else int(sample.gt_score.argmax()))


def test_classification_refuses():
    task = ClassificationTask()
    with pytest.raises(ICKDError, match=r"teacher\.layer"):
        view_of(task, tapped(), [picture(0)], (8, 8))
    with pytest.raises(ICKDError, match="2 labels"):
        task.bad_labels(picture([0, 1]), 3)
    assert task.bad_labels(picture(3), 3) == [3] and task.bad_labels(picture(2), 3) == []
    assert task.has_label(picture(0)) and not task.has_label(picture())


def test_samples_that_a_classifier_cannot_read():
    from mmpretrain.structures import MultiTaskDataSample

    tasks = MultiTaskDataSample()
    tasks.set_field(picture(1), "kind")
    tasks.set_field(picture(1), "gt_label")
    one_task = MultiTaskDataSample()
    one_task.set_field(picture(1), "kind")
    broken = picture(1)
    broken.set_field(torch.tensor([0.5]), "gt_label", dtype=None)
    two_hot = picture(score=[1.0, 0.0, 1.0])
    for sample, words in {
        3: "x/1.png is of type int",
        picture(): "x/1.png has no label.*DataSample.* holds nothing",
        one_task: "x/1.png has no label.*MultiTaskDataSample.* holds kind",
        tasks: "gt_label of x/1.png is a DataSample",
        picture([0, 1]): r"x/1.png has 2 labels \(gt_label of shape \(2,\)\)",
        broken: "gt_label of x/1.png is 0.5",
        two_hot: "scores of x/1.png add up to 2",
    }.items():
        with pytest.raises(ICKDError, match=words):
            ClassificationTask().check_sample(sample, "x/1.png")
    with pytest.raises(ICKDError, match=r"own\.png has 2 labels"):
        ClassificationTask().check_sample(picture([0, 1], path="own.png"))


def test_samples_that_a_classifier_can_read():
    for sample in (picture(2), picture([2]), picture(score=[0.3, 0.7]), picture(1, [0.0, 1.0])):
        ClassificationTask().check_sample(sample)


def student(head):
    model = nn.Module()
    model.head = head
    return model


def multi_label_heads():
    """Return multi-label heads, one of another package."""
    from mmpretrain.models import CSRAClsHead, MultiLabelClsHead, MultiLabelLinearClsHead

    class Tags(MultiLabelLinearClsHead):
        pass

    return [
        MultiLabelClsHead(),
        MultiLabelLinearClsHead(3, 4),
        CSRAClsHead(3, 4, 1, 0.1),
        Tags(3, 4),
    ]


def test_multi_label_heads_are_refused_by_their_class():
    for head in multi_label_heads():
        head.loss_module = nn.CrossEntropyLoss()
        with pytest.raises(ICKDError, match=rf"{type(head).__name__}.*own sigmoid.*single-label"):
            ClassificationTask().check_student(student(head))


def test_a_head_with_multi_label_in_its_name_alone_is_accepted():
    class MultiLabelInNameOnly(nn.Module):
        pass

    ClassificationTask().check_student(student(MultiLabelInNameOnly()))


SIGMOID_LOSSES = [
    dict(type="CrossEntropyLoss", use_sigmoid=True),
    dict(type="LabelSmoothLoss", label_smooth_val=0.1, use_sigmoid=True),
    dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="multi_label"),
    dict(type="FocalLoss"),
    dict(type="AsymmetricLoss"),
]
SOFTMAX_LOSSES = [
    dict(type="CrossEntropyLoss"),
    dict(type="CrossEntropyLoss", use_soft=True),
    dict(type="LabelSmoothLoss", label_smooth_val=0.1),
    dict(type="SeesawLoss", num_classes=3),
    dict(type="AsymmetricLoss", use_sigmoid=False),
]


def single_label_head(loss):
    from mmpretrain.models import LinearClsHead

    return LinearClsHead(3, 4, loss={**loss, "type": f"mmpretrain.{loss['type']}"})


@pytest.mark.parametrize("loss", SIGMOID_LOSSES, ids=str)
def test_sigmoid_losses_are_refused(loss):
    with pytest.raises(ICKDError, match=rf"head of Module: {loss['type']} .*own sigmoid"):
        ClassificationTask().check_student(student(single_label_head(loss)))


@pytest.mark.parametrize("loss", SOFTMAX_LOSSES, ids=str)
def test_softmax_losses_are_accepted(loss):
    ClassificationTask().check_student(student(single_label_head(loss)))


class OtherHead(nn.Module):
    """Head of another package, with other names of its losses."""

    def __init__(self, **losses):
        super().__init__()
        self.fc = nn.Linear(4, 3)
        for name, loss in losses.items():
            setattr(self, name, loss)


def test_losses_of_other_heads_and_of_models_without_a_head():
    task, sigmoid, softmax = ClassificationTask(), nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss()
    for model in (
        student(OtherHead(criterion=sigmoid)),
        student(OtherHead(criterion=nn.MultiLabelSoftMarginLoss())),
        OtherHead(criterion=sigmoid),
        OtherHead(head=None, loss_module=sigmoid),
        OtherHead(head=OtherHead(), loss_module=sigmoid),
    ):
        with pytest.raises(ICKDError, match="own sigmoid"):
            task.check_student(model)
    for model in (
        student(OtherHead()),
        student(OtherHead(criterion=softmax, auxiliary=sigmoid)),
        student(OtherHead(loss_module=softmax, auxiliary=sigmoid)),
        student(nn.Linear(4, 3)),
        OtherHead(head=None),
    ):
        task.check_student(model)
