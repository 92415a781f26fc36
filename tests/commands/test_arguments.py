"""``tools/train.py`` and ``tools/test.py`` as a user calls them."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import OptimWrapper

from mmickd.commands import test, train
from mmickd.commands.arguments import load_run_config, positive_float
from mmickd.utils.errors import ICKDError

ROOT = Path(__file__).parents[2]
TINY = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet_CIFAR', depth=18, base_channels=4, stem_channels=4,
        norm_cfg=dict(type='SyncBN')),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=32))
data_preprocessor = dict(num_classes=2, mean=[128.] * 3, std=[64.] * 3, to_rgb=True)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
data_hint = 'run the converter'
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset', data_root='data', data_prefix='train', pipeline=pipeline))
val_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root='data', data_prefix='train', pipeline=pipeline))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1, ))
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
val_cfg = test_cfg = dict()
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    visualization=dict(type='VisualizationHook', enable=False))
visualizer = dict(type='UniversalVisualizer', vis_backends=[])
"""


@pytest.fixture
def config(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "0")
    (tmp_path / "tiny.py").write_text(TINY)
    return tmp_path / "tiny.py"


@pytest.fixture
def data(config) -> Path:
    import numpy as np
    from PIL import Image

    for index, name in enumerate("ab"):
        folder = config.parent / "data" / "train" / name
        folder.mkdir(parents=True)
        for picture in range(4):
            pixels = np.full((16, 16, 3), 60 + 100 * index + 5 * picture, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{picture}.png")
    return config


def merged(*argv: str) -> Config:
    """Return the config after the arguments of ``train`` are merged into it."""
    args = train.parse_args(["tiny.py", *argv])
    cfg = load_run_config(args)
    train.merge_args(cfg, args)
    return cfg


def call(*command: str, **env: str) -> subprocess.CompletedProcess:
    environ = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **env}
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE"):
        environ.pop(name, None)
    return subprocess.run(command, capture_output=True, text=True, env=environ)


@pytest.mark.parametrize("spelling", ["--local-rank", "--local_rank"])
def test_both_spellings_of_the_local_rank(config, monkeypatch, spelling):
    monkeypatch.delenv("LOCAL_RANK")
    merged(f"{spelling}=3")
    assert os.environ.pop("LOCAL_RANK") == "3"


def test_work_dir(config):
    assert merged().work_dir == os.path.join("work_dirs", "tiny")
    assert merged("--cfg-options", "work_dir=a").work_dir == "a"
    assert merged("--cfg-options", "work_dir=a", "--work-dir", "b").work_dir == "b"


def test_resume(config):
    assert merged().get("resume") is None
    assert (merged("--resume").resume, merged("--resume").load_from) == (True, None)
    assert merged("--resume", "a.pth").load_from == "a.pth"


def test_training_switches(config):
    assert merged("--no-validate").val_dataloader is None
    assert merged("--amp").optim_wrapper.type == "AmpOptimWrapper"
    assert merged("--amp").optim_wrapper.loss_scale == "dynamic"
    python_config = Config(dict(optim_wrapper=dict(type=OptimWrapper)))
    train.enable_amp(python_config)
    assert python_config.optim_wrapper.type == "AmpOptimWrapper"
    assert merged("--seed", "7").randomness == dict(seed=7)
    assert merged("--deterministic").randomness == dict(seed=None, deterministic=True)
    assert "randomness" not in merged()
    scaled = merged("--auto-scale-lr", "--cfg-options", "auto_scale_lr.base_batch_size=64")
    assert scaled.auto_scale_lr == dict(base_batch_size=64, enable=True)
    with pytest.raises(ICKDError, match="base_batch_size"):
        merged("--auto-scale-lr")


def test_dataloader_defaults_follow_the_scope(config):
    loader = merged("--cfg-options", "train_dataloader.num_workers=2").train_dataloader
    assert loader.collate_fn == dict(type="default_collate")
    assert loader.persistent_workers is True
    assert merged().train_dataloader.persistent_workers is False  # num_workers=0
    options = ["--cfg-options", "train_dataloader.num_workers=2"]
    off = merged("--no-pin-memory", "--no-persistent-workers", *options).train_dataloader
    assert (off.pin_memory, off.persistent_workers) == (False, False)
    assert "collate_fn" not in merged("--cfg-options", "default_scope=mmseg").train_dataloader


def test_unreadable_config_and_options(config):
    with pytest.raises(ICKDError, match="cannot be read"):
        merged("--cfg-options", "train_dataloader.batch_size.a=1")
    config.write_text("a = (")
    with pytest.raises(ICKDError, match=r"tiny\.py cannot be read"):
        merged()


@pytest.mark.parametrize("more", [[], ["--tta"], ["--amp"], ["--out", "folder"]])
@pytest.mark.parametrize("part", ["test_dataloader", "test_evaluator", "test_cfg"])
def test_no_test_set_is_a_message(config, part, more):
    args = test.parse_args(["tiny.py", "a.pth", *more, "--cfg-options", f"{part}=None"])
    with pytest.raises(ICKDError, match=rf"tiny\.py has no {part}, so"):
        test.merge_args(load_run_config(args), args)


def test_tta_without_its_settings_is_a_message(config):
    for option, needed in [
        ("default_scope=mmseg", "needs tta_model and tta_pipeline"),
        ("test_dataloader.dataset.pipeline=None", "dataset.pipeline"),
    ]:
        args = test.parse_args(["tiny.py", "a.pth", "--tta", "--cfg-options", option])
        with pytest.raises(ICKDError, match=needed):
            test.merge_args(load_run_config(args), args)


def test_out_of_a_segmenter_is_a_folder(config):
    options = ["default_scope=mmseg", "test_evaluator.type=IoUMetric"]
    args = test.parse_args(["tiny.py", "a.pth", "--out", "folder", "--cfg-options", *options])
    cfg = load_run_config(args)
    test.merge_args(cfg, args)
    assert cfg.test_evaluator.output_dir == "folder"
    assert cfg.load_from == "a.pth"


@pytest.mark.parametrize("several", [False, True])
def test_out_of_a_segmenter_whose_metric_is_a_class(config, several):
    metric = "dict(type=IoUMetric)"
    config.write_text(
        "from mmseg.evaluation import IoUMetric\n"
        + TINY.replace("default_scope = 'mmpretrain'", "default_scope = 'mmseg'")
        + f"test_evaluator = {f'[{metric}]' if several else metric}\n"
    )
    args = test.parse_args(["tiny.py", "a.pth", "--out", "folder"])
    cfg = load_run_config(args)
    test.merge_args(cfg, args)
    (evaluator,) = cfg.test_evaluator if several else [cfg.test_evaluator]
    assert evaluator.output_dir == "folder"


def test_a_tta_model_that_is_a_class_is_dumped_as_its_path(config):
    config.write_text(
        "from mmpretrain.models import AverageClsScoreTTA\n"
        + TINY
        + "tta_model = dict(type=AverageClsScoreTTA)\n"
        "test_dataloader = dict(dataset=dict(pipeline=[dict(type='PackInputs')]))\n"
    )
    args = test.parse_args(["tiny.py", "a.pth", "--tta"])
    cfg = load_run_config(args)
    test.merge_args(cfg, args)
    assert cfg.to_dict()["model"]["type"] == "mmpretrain.models.AverageClsScoreTTA"


def test_show_dir_sets_the_option_of_the_scope(config):
    args = test.parse_args(["tiny.py", "a.pth", "--show-dir", "pictures", "--interval", "5"])
    cfg = load_run_config(args)
    test.merge_args(cfg, args)
    hook = cfg.default_hooks.visualization
    assert (hook.enable, hook.out_dir, hook.interval) == (True, "pictures", 5)
    cfg.default_scope = "mmseg"
    test.merge_args(cfg, args)
    assert (hook.draw, cfg.visualizer.save_dir) == (True, "pictures")


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", ""])
def test_an_integer_option_rejects_other_values(config, text, capsys):
    with pytest.raises(SystemExit, match="2"):
        test.parse_args(["tiny.py", "a.pth", "--interval", text])
    assert f"must be an integer of at least 1, got '{text}'" in capsys.readouterr().err


def test_a_config_option_without_a_value_is_reported(config, capsys):
    with pytest.raises(SystemExit, match="2"):
        train.parse_args(["tiny.py", "--cfg-options", "a.b=1", "model"])
    assert "must be KEY=VALUE, got 'model'" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "nan", "x"])
def test_a_positive_number_rejects_other_values(text):
    with pytest.raises(ArgumentTypeError, match=f"got '{text}'"):
        positive_float(text)
    assert positive_float("0.5") == 0.5


@pytest.mark.parametrize("name", ["train", "test"])
def test_help(name):
    done = call(sys.executable, str(ROOT / "tools" / f"{name}.py"), "--help")
    assert done.returncode == 0 and "--cfg-options" in done.stdout


def test_missing_data_stops_with_code_2_and_no_traceback(config):
    done = call(sys.executable, str(ROOT / "tools" / "train.py"), "tiny.py")
    assert done.returncode == 2
    assert "data  (from train_dataloader.dataset.data_root" in done.stderr
    assert "run the converter" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (config.parent / "work_dirs").exists()


@pytest.mark.slow
def test_two_processes_train_and_test_without_a_gpu(data):
    gpus = dict(CUDA_VISIBLE_DEVICES="-1")
    script = str(ROOT / "tools" / "dist_train.sh")
    done = call("bash", script, "tiny.py", "2", "--work-dir", "out", "--seed", "0", **gpus)
    assert done.returncode == 0, done.stderr[-3000:]
    log = done.stdout + done.stderr
    assert "refuses SyncBN" in log and "[1][2/2]" in log  # 8 pictures, 2 a step, 2 processes
    script = str(ROOT / "tools" / "dist_test.sh")
    arguments = ["tiny.py", "out/epoch_1.pth", "2", "--out", "m.json", "--out-item", "metrics"]
    done = call("bash", script, *arguments, **gpus)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "accuracy/top1" in (data.parent / "m.json").read_text()


@pytest.mark.parametrize("name", ["dist_train", "dist_test", "slurm_train", "slurm_test"])
def test_scripts_print_their_usage(name):
    done = call("bash", str(ROOT / "tools" / f"{name}.sh"))
    assert done.returncode == 2 and "usage:" in done.stderr


def test_slurm_command(tmp_path):
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", str(ROOT / "tools" / "slurm_train.sh"), "part", "job", "cfg.py"]
    done = call(*command, "--seed", "1", PATH=path, GPUS="2", GPUS_PER_NODE="0")
    words = done.stdout.split("\n")
    assert done.returncode == 0, done.stderr
    assert "--ntasks=2" in words and "--job-name=job" in words
    assert not any(word.startswith("--gres") for word in words)
    assert words[words.index("cfg.py") :] == ["cfg.py", "--seed", "1", "--launcher", "slurm", ""]
