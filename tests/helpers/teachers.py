"""Teachers outside of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from torch import nn

from mmickd.structures import Batch
from mmickd.teachers import NetworkTeacher, OfflineTeacher
from mmickd.teachers.run_context import RunContext
from tests.helpers.tiny import classifier_config, segmenter_config

CPU = torch.device("cpu")


def run_context(student: nn.Module) -> RunContext:
    """A run of a student on the CPU, without data."""
    return RunContext(student, CPU, None, None, batch_size=1, num_workers=0)


def stub(scope: str) -> nn.Module:
    """A student of which only its kind is known."""
    student = nn.Module()
    if scope == "mmseg":
        student.decode_head = nn.Module()
    return student


def data_sample(scope: str, size: int = 32) -> Any:
    """Ground truth of an image of class 0."""
    if scope == "mmseg":
        from mmseg.structures import SegDataSample

        sample = SegDataSample()
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, size, size))
        return sample
    from mmpretrain.structures import DataSample

    return DataSample().set_gt_label(0)


def teacher_configs(root: Path) -> dict[str, Config]:
    """By scope, a whole config with all that must not get into a teacher.

    Args:
        root: of data and runs, neither of which is there.
    """
    classifier = classifier_config(root, root, width=4)
    classifier.model.train_cfg = dict(augments=[dict(type="Mixup", alpha=1.0)])
    segmenter = segmenter_config(root, root, width=4)
    segmenter.model.backbone.norm_cfg = dict(type="SyncBN", requires_grad=True)
    segmenter.model.pretrained = "open-mmlab://resnet18_v1c"  # must never be fetched
    return {"mmpretrain": classifier, "mmseg": segmenter}


def look(teacher: NetworkTeacher, scope: str = "mmpretrain", size: int = 32) -> NetworkTeacher:
    """Let a built teacher see a training batch of one image."""
    teacher.dry_run(Batch(torch.zeros(1, 3, size, size), [data_sample(scope, size)]), "head.fc")
    return teacher


def offline(scope: str, cfg: Any, checkpoint: Any, **options: Any) -> OfflineTeacher:
    """A frozen teacher that is built and has seen an image."""
    teacher = OfflineTeacher(cfg, str(checkpoint), **options)
    teacher.build(run_context(stub(scope)))
    look(teacher, scope)
    return teacher


def with_computed_buffer(model: nn.Module) -> nn.Module:
    """The model with a buffer that it does not take back from its own state dict, as Swin V2."""

    def leave_out(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        state.pop(f"{prefix}table", None)

    model.register_buffer("table", torch.arange(3.0))
    model.register_load_state_dict_pre_hook(leave_out)
    return model
