"""Images, their labels, and what of them is a query."""

import numpy as np
import pytest
import torch
from torch import nn

from mmickd.sampling import image_id
from mmickd.structures import Tapped
from mmickd.tasks import ClassificationTask
from mmickd.utils.errors import ICKDError
from tests.helpers.task_cases import picture, see, tapped


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
