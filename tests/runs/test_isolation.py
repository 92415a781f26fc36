"""Teacher and bank are never a part of the student, nor of what is saved or copied of it."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmickd.hooks import ICKDHook
from tests.helpers import toys
from tests.helpers.tiny import build, plain_config_text, run

EMA = dict(type="EMAHook", momentum=0.1)


class During(Hook):
    """Calls a function after the second step, while the hook is attached."""

    priority = "LOWEST"

    def __init__(self, look: Any) -> None:
        self.look, self.result = look, None

    def after_train_iter(self, runner: Runner, batch_idx: int, **kwargs: Any) -> None:
        if runner.iter == 1:
            self.result = self.look(runner)


def during(cfg: Config, look: Any) -> Any:
    runner, hook = build(cfg), During(look)
    runner.register_hook(hook)
    with plain_config_text():
        runner.train()
    assert hook.result is not None
    return hook.result


def reachable_tensors(thing: Any) -> set[int]:
    """Storages of every tensor that pickle finds in ``thing``."""
    found: set[int] = set()

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                found.add(value.untyped_storage().data_ptr())
                return "tensor"
            return None

    Pickler(io.BytesIO()).dump(thing)
    return found


def foreign_tensors(hook: ICKDHook) -> set[int]:
    """Storages of teacher and banks."""
    assert hook.distiller is not None and hook.distiller.teacher.memory.banks
    tensors = list(hook.distiller.teacher.model.state_dict().values())
    for bank in hook.distiller.teacher.memory.banks.values():
        tensors += [bank.features, bank.logits, bank.labels, bank.ids]
    return {t.untyped_storage().data_ptr() for t in tensors}


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_checkpoint_is_that_of_the_plain_student(scope: str) -> None:
    toy = toys.toy(scope)
    plain = toys.checkpoint_of(run(toy.student()))
    runner = run(toy.distilled())
    distilled = toys.checkpoint_of(runner)
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
def test_optimizer_holds_the_students_parameters_only(scope: str) -> None:
    def look(runner: Runner) -> tuple[set[int], set[int], bool]:
        own = {id(p) for p in runner.model.parameters()}
        held = {id(p) for g in runner.optim_wrapper.param_groups for p in g["params"]}
        teacher = toys.hook_of(runner).distiller.teacher.model
        return own, held, any(p.requires_grad or p.grad is not None for p in teacher.parameters())

    own, held, teacher_learns = during(toys.toy(scope).distilled(), look)
    assert held == own
    assert not teacher_learns


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_teacher_is_in_eval_and_does_not_change(scope: str) -> None:
    def look(runner: Runner) -> tuple[bool, dict[str, torch.Tensor]]:
        model = toys.hook_of(runner).distiller.teacher.model
        return any(m.training for m in model.modules()), copy.deepcopy(model.state_dict())

    toy = toys.toy(scope)
    training, state = during(toy.distilled(), look)
    saved = torch.load(toy.checkpoint)["state_dict"]
    assert not training
    assert toys.same_state(dict(state), dict(saved))


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_copies_of_the_model_carry_neither_teacher_nor_bank(scope: str) -> None:
    def look(runner: Runner) -> dict[str, Any]:
        data = runner.model.data_preprocessor(next(iter(runner.val_dataloader)), False)
        data["inputs"] = data["inputs"][..., :16, :16]
        copied = copy.deepcopy(runner.model)
        pickled = pickle.loads(pickle.dumps(runner.model))
        hooks = [
            hook
            for model in (copied, pickled)
            for module in model.modules()
            for hook in [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        ]
        foreign = foreign_tensors(toys.hook_of(runner))
        outputs = [m.eval()(data["inputs"], mode="tensor") for m in (copied, pickled)]
        return dict(
            hooks={getattr(h, "__name__", type(h).__name__) for h in hooks},
            shared=foreign & reachable_tensors(copied),
            size=len(pickle.dumps(copied)),
            same=torch.equal(_first(outputs[0]), _first(outputs[1])),
        )

    found = during(toys.toy(scope).distilled(), look)
    assert found["hooks"] == {"no_hook"}
    assert not found["shared"]
    assert found["same"]
    plain = len(pickle.dumps(build(toys.toy(scope).student()).model))
    assert found["size"] < plain * 1.1 + 20_000


def _first(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, (tuple, list)) else output


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("scope", toys.SCOPES)
def test_ema_averages_the_student_alone(scope: str, order: str) -> None:
    toy = toys.toy(scope)
    plain = toy.student()
    plain.custom_hooks = [EMA]
    cfg = toy.distilled()
    cfg.custom_hooks.insert(0 if order == "before" else 1, EMA)

    def look(runner: Runner) -> tuple[set[int], int]:
        ema = next(h for h in runner.hooks if type(h).__name__ == "EMAHook").ema_model
        hooks = sum(len(m._forward_hooks) for m in ema.modules())
        return foreign_tensors(toys.hook_of(runner)) & reachable_tensors(ema), hooks

    shared, hooks = during(cfg, look)
    assert not shared
    assert hooks == 0

    expected, found = toys.checkpoint_of(run(plain)), toys.checkpoint_of(run(cfg))
    assert "ema_state_dict" in expected
    for part in ("state_dict", "ema_state_dict"):
        assert list(found[part]) == list(expected[part])


def test_ema_with_weight_zero_is_the_ema_without_the_hook() -> None:
    toy = toys.classifier()
    plain = toy.student()
    plain.custom_hooks = [EMA]
    cfg = toy.distilled(losses=toys.OFF)
    cfg.custom_hooks.insert(0, EMA)
    expected, found = toys.checkpoint_of(run(plain)), toys.checkpoint_of(run(cfg))
    assert toys.same_state(dict(expected["ema_state_dict"]), dict(found["ema_state_dict"]))


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
