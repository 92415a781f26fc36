"""The hook without ``losses`` and the headline configs train with the terms of the paper."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmickd.losses.terms import LossTerms
from mmickd.tasks import ClassificationTask, SegmentationTask
from tests.helpers import toys
from tests.helpers.logs import lines_with
from tests.helpers.tiny import history, run, with_teacher

CONFIGS = Path(__file__).parents[2] / "configs"
HEADLINES = sorted(
    f for f in (CONFIGS / "ickd").glob("*.py") if f.stem.startswith(("deeplabv3", "pspnet"))
)
"""Configs of segmenters; those of 100 classes have larger weights of KD and NICD."""
TASKS = {"mmpretrain": ClassificationTask, "mmseg": SegmentationTask}


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_the_bare_hook_trains_with_three_terms(scope: str) -> None:
    toy = toys.toy(scope)
    teacher = dict(cfg=toy.teacher_cfg.to_dict(), checkpoint=str(toy.checkpoint))
    runner = run(with_teacher(toy.student(), teacher))
    for name in ("loss_kd", "loss_picd", "loss_nicd"):
        assert all(value > 0 for value in history(runner, name)), name
    terms = LossTerms.build(None, TASKS[scope].loss_defaults)
    described = "; ".join(f"{name}: {text}" for name, text in terms.descriptions.items())
    log = toys.log_of(runner)
    (line,) = lines_with(log, "Terms of losses: ")
    assert line.endswith(described)
    assert log.index(line) < log.index("Iter(train)")


@pytest.mark.parametrize("file", HEADLINES, ids=lambda file: file.stem)
def test_the_headline_configs_spell_out_the_defaults(file: Path) -> None:
    cfg = Config.fromfile(file)
    (hook,) = cfg.custom_hooks
    assert list(hook.losses) == ["kd", "picd", "nicd"]
    defaults = TASKS[cfg.default_scope].loss_defaults
    spelt_out = LossTerms.build(hook.losses, defaults)
    assert spelt_out.descriptions == LossTerms.build(None, defaults).descriptions
    assert LossTerms.build(hook.losses).descriptions == spelt_out.descriptions
