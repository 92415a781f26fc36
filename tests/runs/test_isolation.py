"""Teacher and bank are never a part of the student, of its checkpoints or of its copies."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmickd.hooks import ICKDHook
from tests.helpers import toys
from tests.helpers.recorders import Callback
from tests.helpers.tiny import build, plain_config_text, run

EMA = dict(type="EMAHook", momentum=0.1)


def during(cfg: Config, look: Any) -> Any:
    """Return the result of ``look(runner)`` after the second step, while the hook is attached."""
    callback = Callback(after_train_iter=lambda runner: look(runner) if runner.iter == 1 else None)
    run(cfg, callback)
    return callback.results[1]


def reachable_tensors(thing: Any) -> set[int]:
    """Return the storages of every tensor that pickle reaches in ``thing``."""
    storages: set[int] = set()

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                storages.add(value.untyped_storage().data_ptr())
                return "tensor"
            return None

    Pickler(io.BytesIO()).dump(thing)
    return storages


def foreign_tensors(hook: ICKDHook) -> set[int]:
    """Return the storages of teacher and banks."""
    assert hook.distiller is not None and hook.distiller.teacher.memory.banks
    tensors = list(hook.distiller.teacher.model.state_dict().values())
    for bank in hook.distiller.teacher.memory.banks.values():
        tensors += [bank.features, bank.logits, bank.labels, bank.ids]
    return {t.untyped_storage().data_ptr() for t in tensors}


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_the_checkpoint_is_that_of_the_plain_student(scope: str) -> None:
    toy = toys.toy(scope)
    plain, distilled = (toys.checkpoint_of(run(cfg)) for cfg in (toy.student(), toy.distilled()))
    assert distilled.keys() == plain.keys()
    assert list(distilled["state_dict"]) == list(plain["state_dict"])
    for name, value in plain["state_dict"].items():
        assert distilled["state_dict"][name].shape == value.shape
    assert distilled["meta"].keys() == plain["meta"].keys()

    def shapes(checkpoint: dict[str, Any]) -> list[Any]:
        state = checkpoint["optimizer"]["state"]
        return [(k, {n: v.shape for n, v in s.items()}) for k, s in state.items()]

    assert shapes(distilled) == shapes(plain)


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_the_optimizer_holds_the_students_parameters_only(scope: str) -> None:
    def look(runner: Runner) -> None:
        student = {id(p) for p in runner.model.parameters()}
        optimized = {id(p) for g in runner.optim_wrapper.param_groups for p in g["params"]}
        assert optimized == student
        teacher = toys.hook_of(runner).distiller.teacher.model
        assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())

    during(toys.toy(scope).distilled(), look)


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_the_teacher_is_in_eval_mode_and_does_not_change(scope: str) -> None:
    toy = toys.toy(scope)

    def look(runner: Runner) -> None:
        model = toys.hook_of(runner).distiller.teacher.model
        assert not any(m.training for m in model.modules())
        assert toys.same_state(model.state_dict(), torch.load(toy.checkpoint)["state_dict"])

    during(toy.distilled(), look)


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_copies_of_the_model_carry_neither_teacher_nor_bank(scope: str) -> None:
    plain_size = len(pickle.dumps(build(toys.toy(scope).student()).model))

    def look(runner: Runner) -> None:
        inputs = runner.model.data_preprocessor(next(iter(runner.val_dataloader)), False)["inputs"]
        copied = copy.deepcopy(runner.model)
        pickled = pickle.loads(pickle.dumps(runner.model))
        hooks = [
            hook
            for model in (copied, pickled)
            for module in model.modules()
            for hook in [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        ]
        assert {getattr(h, "__name__", type(h).__name__) for h in hooks} == {"no_hook"}
        assert not foreign_tensors(toys.hook_of(runner)) & reachable_tensors(copied)
        assert len(pickle.dumps(copied)) < plain_size * 1.1 + 20_000
        outputs = [m.eval()(inputs[..., :16, :16], mode="tensor") for m in (copied, pickled)]
        assert torch.equal(*(o[0] if isinstance(o, (tuple, list)) else o for o in outputs))

    during(toys.toy(scope).distilled(), look)


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("scope", toys.SCOPES)
def test_ema_averages_the_student_alone(scope: str, order: str) -> None:
    toy = toys.toy(scope)
    plain = toy.student()
    plain.custom_hooks = [EMA]
    cfg = toy.distilled()
    cfg.custom_hooks.insert(0 if order == "before" else 1, EMA)

    def look(runner: Runner) -> None:
        ema = next(h for h in runner.hooks if type(h).__name__ == "EMAHook").ema_model
        assert not foreign_tensors(toys.hook_of(runner)) & reachable_tensors(ema)
        assert not any(module._forward_hooks for module in ema.modules())

    during(cfg, look)

    expected, result = toys.checkpoint_of(run(plain)), toys.checkpoint_of(run(cfg))
    assert "ema_state_dict" in expected
    for part in ("state_dict", "ema_state_dict"):
        assert list(result[part]) == list(expected[part])


def test_ema_with_weight_zero_is_the_ema_without_the_hook() -> None:
    toy = toys.classifier()
    plain = toy.student()
    plain.custom_hooks = [EMA]
    cfg = toy.distilled(losses=toys.OFF)
    cfg.custom_hooks.insert(0, EMA)
    expected, result = toys.checkpoint_of(run(plain)), toys.checkpoint_of(run(cfg))
    assert toys.same_state(result["ema_state_dict"], expected["ema_state_dict"])


def test_validation_and_test_run_without_the_teacher() -> None:
    toy = toys.classifier()
    runner = run(toy.distilled())
    cfg = toy.distilled(cfg=toy.student())
    cfg.load_from = (Path(runner.work_dir) / "last_checkpoint").read_text()
    cfg.custom_hooks[0].teacher.checkpoint = "/nowhere/teacher.pth"
    tester = build(cfg)
    with plain_config_text():
        assert "accuracy/top1" in tester.test()
        assert "accuracy/top1" in tester.val()
