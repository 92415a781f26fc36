"""Teachers outside of runs, and their files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
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
    """Return the run of a student on the CPU, without data."""
    return RunContext(student, CPU, None, None, batch_size=1, num_workers=0)


def empty_student(scope: str) -> nn.Module:
    """Return a student without layers; its attributes show the kind of its task."""
    student = nn.Module()
    if scope == "mmseg":
        student.decode_head = nn.Module()
    return student


def data_sample(scope: str, size: int = 32) -> Any:
    """Return the ground truth of an image of class 0."""
    if scope == "mmseg":
        from mmseg.structures import SegDataSample

        sample = SegDataSample()
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, size, size))
        return sample
    from mmpretrain.structures import DataSample

    return DataSample().set_gt_label(0)


def teacher_configs(root: Path) -> dict[str, Config]:
    """Return whole configs by scope, with everything that a teacher must not take from them.

    Args:
        root: Folder of data and runs; it stays empty.
    """
    classifier = classifier_config(root, root, width=4)
    classifier.model.train_cfg = dict(augments=[dict(type="Mixup", alpha=1.0)])
    segmenter = segmenter_config(root, root, width=4)
    segmenter.model.backbone.norm_cfg = dict(type="SyncBN", requires_grad=True)
    segmenter.model.pretrained = "open-mmlab://resnet18_v1c"  # must never be fetched
    return {"mmpretrain": classifier, "mmseg": segmenter}


def dry_run(teacher: NetworkTeacher, scope: str = "mmpretrain", size: int = 32) -> NetworkTeacher:
    """Run a built teacher on a batch of one image, and return it."""
    teacher.dry_run(Batch(torch.zeros(1, 3, size, size), [data_sample(scope, size)]), "head.fc")
    return teacher


def offline(scope: str, cfg: Any, checkpoint: Any, **options: Any) -> OfflineTeacher:
    """Return a frozen teacher after its dry run."""
    teacher = OfflineTeacher(cfg, str(checkpoint), **options)
    teacher.build(run_context(empty_student(scope)))
    dry_run(teacher, scope)
    return teacher


def with_computed_buffer(model: nn.Module) -> nn.Module:
    """Return the model with a buffer that it saves and does not load, like Swin V2."""

    def drop_buffer(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        state.pop(f"{prefix}table", None)

    model.register_buffer("table", torch.arange(3.0))
    model.register_load_state_dict_pre_hook(drop_buffer)
    return model


def rezip(
    source: Path,
    target: Path,
    change: Callable[[bytes], bytes] = lambda data: data,
    method: int = zipfile.ZIP_STORED,
) -> None:
    """Write a checkpoint's archive anew, with a changed pickle or compressed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(entry.filename, change(data) if entry.filename.endswith(".pkl") else data)
