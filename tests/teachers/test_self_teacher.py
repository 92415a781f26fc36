"""The student's past as its teacher."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmickd.retrieval import TorchRetriever
from mmickd.retrieval.memory import Memory
from mmickd.structures import Batch, Tapped
from mmickd.teachers import SelfTeacher
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.teachers import dry_run, run_context, with_computed_buffer


def student(seed: int = 0) -> nn.Module:
    cfg = toys.classifier().cfg
    init_default_scope("mmpretrain")
    torch.manual_seed(seed)
    preprocessor = dict(cfg.data_preprocessor, type="ClsDataPreprocessor")
    return MODELS.build(dict(copy.deepcopy(cfg.model), data_preprocessor=preprocessor))


def change(model: nn.Module) -> None:
    """Change all parameters, buffers and counters, as a training step does."""
    with torch.no_grad():
        for value in model.state_dict().values():
            value.add_(torch.randn(value.shape) if value.is_floating_point() else 1)


@pytest.mark.parametrize(("momentum", "warmup"), [(0.1, 0), (0.001, 3), (1.0, 0)])
def test_the_average_follows_its_formula(momentum: float, warmup: int) -> None:
    model = student()
    teacher = SelfTeacher(momentum=momentum, warmup=warmup)
    teacher.build(run_context(model))
    average = copy.deepcopy(dict(model.state_dict()))
    for step in range(6):
        change(model)
        teacher.after_step(model, ends_epoch=False)
        share = max(momentum, warmup / (warmup + step)) if warmup else momentum
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                average[name] = (1 - share) * average[name] + share * value
            else:
                average[name] = value.clone()
    for name, value in teacher.model.state_dict().items():
        assert torch.allclose(value, average[name], atol=1e-5), name
    assert not any(p.requires_grad for p in teacher.model.parameters())
    assert not any(m.training for m in teacher.model.modules())


def test_the_student_is_copied() -> None:
    model = student()
    before = copy.deepcopy(dict(model.state_dict()))
    teacher = SelfTeacher()
    teacher.build(run_context(model))
    change(teacher.model)
    assert toys.same_state(dict(model.state_dict()), before)
    assert all(p.requires_grad for p in model.parameters())


def test_a_compiled_method_is_not_copied() -> None:
    """mmengine sets the compiled train_step on the model; a copy of it would run the student."""
    model = student()
    model.train_step = model.train_step  # as mmengine's _maybe_compile does
    teacher = SelfTeacher()
    teacher.build(run_context(model))
    assert teacher.model.train_step.__self__ is teacher.model
    assert model.train_step.__self__ is model


def test_a_restored_average_continues_bit_for_bit() -> None:
    model, other = student(), student(1)
    teacher, restored = SelfTeacher(warmup=2), SelfTeacher(warmup=2)
    teacher.build(run_context(model))
    for _ in range(3):
        change(model)
        teacher.after_step(model, ends_epoch=False)
    restored.build(run_context(other))
    restored.load_own_state(copy.deepcopy(teacher.own_state()))
    for _ in range(2):
        change(model)
        for each in (teacher, restored):
            each.after_step(model, ends_epoch=False)
    assert toys.same_state(dict(teacher.model.state_dict()), dict(restored.model.state_dict()))


def snapshot_of(model: nn.Module, interval: int = 1) -> SelfTeacher:
    teacher = SelfTeacher(mode="snapshot", interval=interval)
    teacher.build(run_context(model))
    dry_run(teacher)
    teacher.open(lambda width: Memory({}, TorchRetriever()), None)
    return teacher


def has_source(teacher: SelfTeacher) -> bool:
    """True if the student distils from the teacher now."""
    logits = torch.zeros(1, 3)
    batch = Batch(torch.zeros(1, 3, 16, 16), [])
    return len(teacher.forward(batch, Tapped(logits, logits))) == 1


@pytest.mark.parametrize("interval", [1, 3])
def test_a_snapshot_is_the_student_at_the_end_of_an_epoch(interval: int) -> None:
    model = student()
    teacher = snapshot_of(model, interval)
    expected = copy.deepcopy(dict(model.state_dict()))
    for step in range(1, 15):
        change(model)
        teacher.after_step(model, ends_epoch=step % 2 == 0)
        if step % (2 * interval) == 0:
            expected = copy.deepcopy(dict(model.state_dict()))
        assert has_source(teacher) is (step >= 2 * interval)
        assert toys.same_state(dict(teacher.model.state_dict()), expected)
    assert not teacher.is_frozen


def test_a_restored_snapshot_continues_bit_for_bit() -> None:
    """It may be saved between two snapshots, or before the first."""
    for steps in (1, 3):
        model = student()
        teacher, restored = snapshot_of(model, 2), snapshot_of(student(1), 2)
        for _ in range(steps):
            change(model)
            teacher.after_step(model, ends_epoch=True)
        restored.load_own_state(copy.deepcopy(teacher.own_state()))
        assert has_source(restored) is has_source(teacher)
        change(model)
        for each in (teacher, restored):
            each.after_step(model, ends_epoch=True)
        assert toys.same_state(dict(teacher.model.state_dict()), dict(restored.model.state_dict()))


def test_a_student_that_does_not_load_its_computed_buffer() -> None:
    model, other = with_computed_buffer(student()), with_computed_buffer(student(1))
    teacher, restored = snapshot_of(model), snapshot_of(other)
    change(model.head)
    teacher.after_step(model, ends_epoch=True)
    assert toys.same_state(dict(teacher.model.state_dict()), dict(model.state_dict()))
    restored.load_own_state(copy.deepcopy(teacher.own_state()))
    assert toys.same_state(dict(restored.model.state_dict()), dict(model.state_dict()))


def test_a_state_of_another_mode_is_refused() -> None:
    model = student()
    average = SelfTeacher()
    average.build(run_context(model))
    with pytest.raises(ICKDError, match=r"'ema'.*'snapshot'"):
        snapshot_of(model).load_own_state(average.own_state())


@pytest.mark.parametrize(
    "damage",
    [
        dict(steps=-1),
        dict(steps=1.0),
        dict(epochs=True),
        dict(epochs=None),
        dict(taken=1),
        dict(mode=torch.ones(2)),
        dict(mode="x" * 9999),
        dict(model={}),
    ],
)
def test_a_damaged_state_is_refused(damage: dict[str, Any]) -> None:
    """The next step would divide by 0 if steps were -warmup."""
    teacher = SelfTeacher()
    teacher.build(run_context(student()))
    with pytest.raises(ICKDError) as caught:
        teacher.load_own_state({**teacher.own_state(), **damage})
    assert "resumed checkpoint" in str(caught.value) and str(caught.value).isprintable()


def test_an_earlier_checkpoint_is_frozen(tmp_path: Any) -> None:
    past, model = student(1), student()
    torch.save(dict(state_dict=past.state_dict()), tmp_path / "past.pth")
    teacher = SelfTeacher(mode="checkpoint", checkpoint=str(tmp_path / "past.pth"))
    teacher.check_files()
    teacher.fetch()
    teacher.build(run_context(model))
    assert teacher.is_frozen and not SelfTeacher().is_frozen
    change(model)
    teacher.after_step(model, ends_epoch=False)
    assert toys.same_state(dict(teacher.model.state_dict()), dict(past.state_dict()))


def test_a_checkpoint_of_another_model_is_refused() -> None:
    toy = toys.classifier()  # its teacher is twice as wide as its student
    teacher = SelfTeacher(mode="checkpoint", checkpoint=str(toy.checkpoint))
    with pytest.raises(ICKDError, match="does not fit"):
        teacher.build(run_context(student()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(momentum=0.0), "momentum"),
        (dict(momentum=1.5), "momentum"),
        (dict(momentum="fast"), "momentum"),
        (dict(momentum=float("nan")), "momentum"),
        (dict(momentum=True), "momentum"),
        (dict(warmup=-1), "warmup"),
        (dict(interval=0), "interval"),
        (dict(mode="emma"), "'ema'"),
        (dict(mode="checkpoint"), "teacher.checkpoint"),
        (dict(checkpoint="x.pth"), "teacher.mode='checkpoint'"),
        (dict(resume="no"), "strict, fresh"),
        (dict(dtype="half"), "dtype='half'"),
    ],
)
def test_options_are_checked(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ICKDError, match=words):
        SelfTeacher(**options)
    with pytest.raises(ICKDError, match="does not exist"):
        SelfTeacher(mode="checkpoint", checkpoint="no.pth").check_files()
