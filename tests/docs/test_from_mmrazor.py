"""The configs and the conversion of docs/compare/from-mmrazor.md, on tiny runs."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

from mmickd.losses import CWDLoss, KDLoss
from mmickd.structures import Queries
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.tiny import dump, history, run, save_teacher, scalar_names

PAGE = (Path(__file__).parents[2] / "docs/compare/from-mmrazor.md").read_text()
BLOCKS = re.findall(r"```python\n(# .*?)\n(.*?)```", PAGE, re.DOTALL)
OLD = [block for title, block in BLOCKS if title == "# MMRazor 1.0"]
NEW = [block for title, block in BLOCKS if title == "# mmickd"]
(CONVERSION,) = (block for title, block in BLOCKS if title.startswith("# student"))
CASES = pytest.mark.parametrize(
    ("number", "toy", "term"),
    [(0, toys.segmenter, "loss_cwd"), (1, toys.classifier, "loss_kd")],
    ids=["cwd", "kd"],
)


def moved(block: str, toy: toys.Toy, folder: Path) -> Config:
    """Return the config of a block, with the files of a tiny run in the place of its paths."""
    student = toy.student(train_cfg__max_iters=2)
    paths = {
        "path/to/the/students_config.py": dump(student, folder / "student.py"),
        "path/to/the/teachers_config.py": dump(toy.teacher_cfg, folder / "teacher.py"),
        "teacher.pth": toy.checkpoint,
    }
    for name, path in paths.items():
        assert block.count(name) == 1
        block = block.replace(name, str(path))
    file = folder / "run.py"
    file.write_text(block)
    return Config.fromfile(file)


def old_entries(block: str) -> dict[str, Any]:
    """Return the variables of a config of MMRazor."""
    entries: dict[str, Any] = {}
    exec(block, entries)
    return entries


@CASES
def test_the_new_config_trains_by_one_term(
    number: int, toy: Callable[[], toys.Toy], term: str, tmp_path: Path
) -> None:
    runner = run(moved(NEW[number], toy(), tmp_path))
    distilled = [name for name in scalar_names(runner, "loss_") if "ce" not in name]
    assert distilled == [term]
    assert len(history(runner, term)) == 2 and all(value > 0 for value in history(runner, term))
    student = torch.load(save_teacher(toy().cfg, tmp_path / "student.pth"), weights_only=True)
    assert toys.checkpoint_of(runner)["state_dict"].keys() == student["state_dict"].keys()


@CASES
def test_temperature_and_weight_are_those_of_the_old_config(
    number: int, toy: Callable[[], toys.Toy], term: str, tmp_path: Path
) -> None:
    (old,) = old_entries(OLD[number])["model"]["distiller"]["distill_losses"].values()
    new = moved(NEW[number], toy(), tmp_path).custom_hooks[-1].losses[term[len("loss_") :]]
    assert (new.temperature, new.loss_weight) == (old["tau"], old["loss_weight"])


def test_the_values_are_those_of_mmrazors_formulas() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 3, 5, 4)  # (N, C, H, W) each
    tau, pixels = 3.0, 5 * 4
    target, log_prediction = (
        function(x.flatten(2) / tau, dim=2)
        for function, x in ((F.softmax, teacher), (F.log_softmax, student))
    )
    channels = F.kl_div(log_prediction, target, reduction="sum") * tau**2 / (3 * 2)
    rows, targets = (x.flatten(2).transpose(1, 2).flatten(0, 1) for x in (student, teacher))
    queries = Queries(rows, targets, shape=(2, pixels))
    assert CWDLoss(tau)(queries).mean() == pytest.approx(float(channels), rel=1e-5)

    prediction = F.log_softmax(student / tau, dim=1)
    kl = F.kl_div(prediction, F.softmax(teacher / tau, dim=1), reduction="batchmean") * tau**2
    assert pixels * KDLoss(tau)(queries).mean() == pytest.approx(float(kl), rel=1e-5)
    first = F.kl_div(
        prediction[:, :, 0, 0], F.softmax(teacher / tau, dim=1)[:, :, 0, 0], reduction="batchmean"
    )
    values = KDLoss(tau)(Queries(student[:, :, 0, 0], teacher[:, :, 0, 0]))
    assert values.mean() == pytest.approx(float(first * tau**2), rel=1e-5)


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_the_student_of_an_old_checkpoint(
    scope: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = toys.toy(scope)
    weights = torch.load(toy.checkpoint, weights_only=True)["state_dict"]
    state = {f"architecture.{key}": value for key, value in weights.items()}
    state |= {f"teacher.{key}": torch.zeros(1) for key in weights}
    old = tmp_path / "mmrazor.pth"
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=dict(classes=["a"]), iter=3)), old)

    options: dict[str, Any] = dict(losses=toys.KD_ONLY)
    cfg = toy.distilled(**options)
    cfg.custom_hooks[0].teacher.checkpoint = str(old)
    with pytest.raises(ICKDError, match=r"does not fit teacher\.cfg.*architecture"):
        run(cfg)

    monkeypatch.chdir(tmp_path)
    exec(CONVERSION, {})
    written = torch.load("student.pth", weights_only=True)
    assert written["state_dict"].keys() == weights.keys()
    assert written["meta"] == dict(dataset_meta=dict(classes=["a"]))

    torch.save(dict(state_dict=written["state_dict"]), "teacher.pth")
    cfg.custom_hooks[0].teacher.checkpoint = str(tmp_path / "teacher.pth")
    assert len(history(run(cfg), "loss_kd")) == 3
    continued = copy.deepcopy(toy.teacher_cfg)
    continued.work_dir, continued.load_from = str(toys.new_folder()), "student.pth"
    continued.optim_wrapper.optimizer.update(lr=0.0, momentum=0.0)
    trained = run(continued).model.state_dict()
    name = next(name for name in weights if name.endswith("weight"))
    assert torch.equal(trained[name], weights[name])


@pytest.mark.parametrize(
    ("losses", "zero"),
    [
        (dict(task=dict(loss_weight=0.0)), "loss_ce"),
        (dict(kd=dict(loss_weight=dict(value=1.0, end=1, by_epoch=True))), None),
    ],
    ids=["calculate_student_loss", "StopDistillHook"],
)
def test_options_of_the_table(losses: dict[str, Any], zero: str | None) -> None:
    cfg = toys.classifier().distilled(losses={**toys.KD_ONLY, **losses})
    cfg.train_cfg.max_iters = 7  # an epoch has 5 iterations
    runner = run(cfg)
    if zero is not None:
        assert set(history(runner, zero)) == {0.0}
        return
    values = history(runner, "loss_kd")
    assert all(values[:5]) and values[5:] == [0.0, 0.0]
