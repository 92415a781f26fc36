"""Every config of the project, built and run for two iterations on tiny data."""

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config, DictAction
from mmengine.registry import MODELS
from mmengine.runner import Runner

from tests.helpers.fabricate import (
    make_camvid,
    make_cifar100,
    make_cityscapes,
    make_class_folders,
    make_segmentation,
    point_to,
)

REPO = Path(__file__).resolve().parents[2]
CONFIGS = REPO / "configs"


def shipped(*folders: str) -> list[str]:
    return sorted(
        str(path.relative_to(CONFIGS)) for f in folders for path in (CONFIGS / f).glob("*.py")
    )


FOLDERS = ("teachers", "baselines", "ickd", "ickd_self", "ickd_online", "demo", "small")
TRAINABLE = shipped(*FOLDERS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("data")
    make_cifar100(root / "cifar100")
    return {
        "cityscapes": make_cityscapes(root / "cityscapes"),
        "camvid": make_camvid(root / "camvid"),
        "tin100": make_class_folders(root / "tin100"),
        "tin10": make_class_folders(root / "tin10", num_classes=10),
        "cifar100_16px": make_class_folders(root / "cifar100_16px"),
        "cifar100": root / "cifar100",
        "digits": make_class_folders(root / "digits", num_classes=10, size=(16, 16)),
        "wrong_labels": make_class_folders(root / "wrong_labels", num_classes=10, size=(16, 16)),
        "scenes": make_camvid(root / "scenes"),
        "voc_animals": make_segmentation(
            root / "voc_animals", "img_dir/{split}", "ann_dir/{split}", 9, (".jpg", ".png")
        ),
    }


@pytest.fixture
def _cifar_md5(data: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Give CIFAR100 the MD5 sums of our files; it rejects files without the published ones."""
    from mmpretrain.datasets import CIFAR100

    folder = data["cifar100"] / "cifar-100-python"
    md5 = {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", dict(CIFAR100.meta, md5=md5["meta"]))


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths of randomly initialised checkpoints by teacher config, made at the first look-up."""
    folder = tmp_path_factory.mktemp("teachers")

    class Checkpoints(dict):
        def __missing__(self, name: str) -> str:
            cfg = Config.fromfile(REPO / name)
            model_cfg = cfg.model
            model_cfg.pop("pretrained", None)
            model_cfg.setdefault("data_preprocessor", cfg.get("data_preprocessor"))
            __import__(f"{cfg.default_scope}.models")
            with MODELS.switch_scope_and_registry(cfg.default_scope) as registry:
                model = registry.build(model_cfg)
            path = folder / (Path(name).stem + ".pth")
            torch.save({"state_dict": model.state_dict()}, path)
            self[name] = str(path)
            return self[name]

    return Checkpoints()


def load(
    name: str,
    data: dict[str, Path],
    teachers: dict[str, str],
    work_dir: Path,
    options: Sequence[str] = (),
) -> Config:
    cfg = Config.fromfile(CONFIGS / name)
    pairs = (option.split("=", 1) for option in options)
    cfg.merge_from_dict({key: DictAction._parse_iterable(value) for key, value in pairs})
    cfg = point_to(cfg, data[next(key for key in data if key in name)])
    cfg.work_dir = str(work_dir)
    cfg.env_cfg.cudnn_benchmark = False
    for hook in cfg.get("custom_hooks") or []:
        if hook.type == "mmickd.ICKDHook" and "checkpoint" in hook.teacher:
            student = str((CONFIGS / name).relative_to(REPO))  # a student may be its teacher
            hook.teacher.checkpoint = teachers[hook.teacher.get("cfg", student)]
    return cfg


def has_learning_teacher(cfg: Config) -> bool:
    hooks = cfg.get("custom_hooks") or []
    types = [hook.get("teacher", {}).get("type", "") for hook in hooks]
    return any(kind in ("SelfTeacher", "OnlineTeacher") for kind in types)


def expected_losses(cfg: Config) -> dict[str, bool]:
    """Return the terms in the log; the value is True if the term has a weight."""
    hooks = [h for h in cfg.get("custom_hooks") or [] if h.type == "mmickd.ICKDHook"]
    losses = hooks[0].get("losses", {}) if hooks else dict(kd=None, picd=None, nicd=None)
    terms = {key: losses.get(key, {}) for key in ("kd", "picd", "nicd")}
    return {
        f"loss_{key}": options.get("loss_weight") != 0
        for key, options in terms.items()
        if options is not None
    }


@pytest.mark.usefixtures("_cifar_md5")
@pytest.mark.parametrize("name", TRAINABLE)
def test_config_runs_two_iterations(
    name: str,
    data: dict[str, Path],
    teachers: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MMICKD_CACHE_DIR", str(tmp_path / "cache"))
    cfg = load(name, data, teachers, tmp_path / "run")
    iterations = 2
    if has_learning_teacher(cfg):
        # weights start at 0, and the queue is empty at first: PICD needs two more steps
        iterations = 4
        unit = "max_iters" if "max_iters" in cfg.train_cfg else "max_epochs"
        cfg.train_cfg[unit] *= 2
    runner = Runner.from_cfg(cfg)
    runner.train()

    assert runner.iter == iterations
    logged = {
        key.removeprefix("train/"): history.current()
        for key, history in runner.message_hub.log_scalars.items()
        if key.startswith("train/") and "loss" in key
    }
    terms = {key for key in logged if key in ("loss_kd", "loss_picd", "loss_nicd")}
    expected = expected_losses(cfg)
    assert terms == set(expected)
    assert all(math.isfinite(value) for value in logged.values()), logged
    assert all((logged[key] > 0) == counts for key, counts in expected.items()), logged
    # R101 leaves 600 MB
    shutil.rmtree(tmp_path)


PLANS = {
    name: json.loads((REPO / "results" / "plans" / f"{name}.json").read_text())
    for name in ("tin100_gpu", "tin100_gpu_resnet20", "camvid_gpu")
}


@pytest.mark.parametrize(
    ("plan", "row"),
    [(name, row) for name in PLANS for row in ("teacher", *PLANS[name]["students"])],
)
def test_plan_for_a_gpu_runs_two_iterations_without_one(
    plan: str,
    row: str,
    data: dict[str, Path],
    teachers: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MMICKD_CACHE_DIR", str(tmp_path / "cache"))
    entry = {**PLANS[plan]["students"], "teacher": PLANS[plan]["teacher"]}[row]
    name = entry["config"].removeprefix("configs/")
    options = [*PLANS[plan]["options"], *entry.get("options", [])]
    cfg = load(name, data, teachers, tmp_path / "run", options)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        assert loader.dataset.pop("device", "cuda") == "cuda"
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 2
    scalars = runner.message_hub.log_scalars
    assert all(math.isfinite(scalars[key].current()) for key in scalars if "loss" in key)
    assert f"val/{PLANS[plan]['metric']}" in scalars


@pytest.mark.parametrize("name", TRAINABLE)
def test_config_is_self_contained_and_survives_a_dump(name: str) -> None:
    cfg = Config.fromfile(CONFIGS / name)
    assert "::" not in (CONFIGS / name).read_text()
    assert Config.fromstring(cfg.pretty_text, ".py")._cfg_dict == cfg._cfg_dict
    assert cfg.data_hint


@pytest.mark.parametrize("name", shipped("ickd"))
def test_a_kd_baseline_only_differs_in_the_losses(name: str) -> None:
    ickd = Config.fromfile(CONFIGS / name)
    kd = Config.fromfile(CONFIGS / "baselines" / f"kd_{Path(name).name}")
    assert kd.custom_hooks[0].losses.picd is None
    assert kd.custom_hooks[0].losses.nicd is None
    assert ickd.custom_hooks[0].losses.picd is not None
    assert kd.custom_hooks[0].losses.kd.loss_weight > 0
    kd.custom_hooks[0].losses = ickd.custom_hooks[0].losses
    assert kd._cfg_dict == ickd._cfg_dict


STUDENTS = [name for name in shipped("baselines") if "kd_" not in name and "dml_" not in name]
WITH_HOOK = sorted({*shipped("ickd", "ickd_self", "ickd_online", "baselines")} - {*STUDENTS})


@pytest.mark.parametrize("name", WITH_HOOK)
def test_a_config_with_the_hook_is_the_students_config_plus_the_hook(name: str) -> None:
    cfg = Config.fromfile(CONFIGS / name)
    students = [Config.fromfile(CONFIGS / s) for s in STUDENTS]
    added = {"custom_hooks", "checkpoint_hint"}
    rest = {key: value for key, value in cfg._cfg_dict.items() if key not in added}
    assert [s for s in students if s._cfg_dict == rest]


@pytest.mark.parametrize("name", shipped("ickd_self", "ickd_online"))
def test_weights_with_learning_teachers_grow_within_the_run(name: str) -> None:
    cfg = Config.fromfile(CONFIGS / name)
    hook = cfg.custom_hooks[0]
    assert hook.teacher.type == ("SelfTeacher" if "ickd_self" in name else "OnlineTeacher")
    for term in ("kd", "picd", "nicd"):
        weight = hook.losses[term].loss_weight
        unit = "max_epochs" if weight.get("by_epoch") else "max_iters"
        assert 0 < weight.warmup <= cfg.train_cfg[unit] / 2, term


def test_the_schedule_of_pskd_has_the_length_of_the_run() -> None:
    for name in (n for n in TRAINABLE if "pskd" in n):
        cfg = Config.fromfile(CONFIGS / name)
        assert cfg.custom_hooks[0].losses.kd.loss_weight.warmup == cfg.train_cfg.max_epochs


@pytest.mark.parametrize("name", shipped("ickd"))
def test_the_default_teacher_checkpoint_is_the_last_one_of_its_training(name: str) -> None:
    teacher = Config.fromfile(CONFIGS / name).custom_hooks[0].teacher
    config = REPO / teacher.cfg
    assert config.is_file()
    if "://" in teacher.checkpoint:
        return
    loop = Config.fromfile(config).train_cfg
    last = f"epoch_{loop.max_epochs}" if "max_epochs" in loop else f"iter_{loop.max_iters}"
    assert teacher.checkpoint == f"work_dirs/{config.stem}/{last}.pth"


@pytest.mark.parametrize("model", ["deeplabv3", "pspnet"])
def test_cityscapes_configs_equal_the_zoo(model: str) -> None:
    """The zoo's checkpoint loads strictly, and the student has mmsegmentation's recipe."""
    import mmseg

    folder = Path(mmseg.__file__).parent / ".mim" / "configs" / model
    for depth, ours in ((101, f"teachers/{model}_r101"), (18, f"baselines/{model}_r18")):
        zoo = Config.fromfile(folder / f"{model}_r{depth}-d8_4xb2-80k_cityscapes-512x1024.py")
        cfg = Config.fromfile(CONFIGS / f"{ours}_cityscapes.py")
        for part in (
            *("model", "optim_wrapper", "param_scheduler", "train_cfg", "train_dataloader"),
            *("val_dataloader", "val_evaluator", "default_hooks"),
        ):
            assert cfg[part] == zoo[part], part

    entries = yaml.safe_load((folder / "metafile.yaml").read_text())["Models"]
    name = f"{model}_r101-d8_4xb2-80k_cityscapes-512x1024"
    weights = next(entry["Weights"] for entry in entries if entry["Name"] == name)
    hook = Config.fromfile(CONFIGS / f"ickd/{model}_r101_r18_cityscapes.py").custom_hooks[0]
    assert hook.teacher.checkpoint == weights
