"""A bank is read from the cache when it is right, and rebuilt with one line that says why."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmickd.banks.options import BankOptions
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.commands import ROOT, CommandResult, command
from tests.helpers.tiny import make_scenes, plain_config_text, run, save_teacher


@pytest.fixture(scope="module")
def filled() -> Path:
    """A cache with the bank of the segmenter."""
    cache = toys.new_folder()
    log = toys.log_of(run(distilled(cache)))
    assert f"Memory bank cached in {cache}" in log
    assert f"Building: no bank of this teacher and data set in {cache}" in log
    return cache


@pytest.fixture
def cache(filled: Path) -> Path:
    """A copy of it, to be spoilt."""
    copied = toys.new_folder() / "cache"
    shutil.copytree(filled, copied)
    return copied


def distilled(cache: Any, **options: Any) -> Config:
    bank = dict(cache_dir=None if cache is None else str(cache), **options)
    return toys.segmenter().distilled(bank=bank)


def lines(log: str, word: str) -> list[str]:
    return [line for line in log.splitlines() if word in line]


def only_folder(cache: Path) -> Path:
    (folder,) = folders(cache)
    return folder


def folders(cache: Path) -> list[Path]:
    """Of the banks; their locks lie beside them."""
    return [path for path in cache.iterdir() if path.is_dir()]


def test_second_run_reads_it(cache: Path) -> None:
    before = toys.cached_banks(cache)["pixel"]
    log = toys.log_of(run(distilled(cache)))
    assert len(lines(log, f"memory bank from {only_folder(cache)}")) == 1
    assert "Building" not in log
    assert toys.same_state(toys.cached_banks(cache)["pixel"], before)
    manifest = json.loads((only_folder(cache) / "manifest.json").read_text())
    assert manifest["about"] == {"teacher_checkpoint": "teacher.pth"}  # its config is a dict here
    assert manifest["rows"] == len(before["labels"])
    assert sorted(p.name for p in only_folder(cache).iterdir()) == [
        "bank.safetensors",
        "images.jsonl",
        "manifest.json",
    ]


def truncate(folder: Path) -> None:
    path = folder / "bank.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def alter(folder: Path) -> None:
    path = folder / "bank.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def set_in_manifest(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (truncate, "is truncated or was altered"),
    "altered": (alter, "is truncated or was altered"),
    "tensors gone": (lambda f: (f / "bank.safetensors").unlink(), "cannot be read"),
    "manifest gone": (lambda f: (f / "manifest.json").unlink(), "cannot be read"),
    "manifest cut": (lambda f: (f / "manifest.json").write_text('{"for'), "cannot be read"),
    "manifest is a list": (lambda f: (f / "manifest.json").write_text("[]"), "cannot be read"),
    "other format": (set_in_manifest(format=0), "is of format 0"),
    "other fields": (set_in_manifest(fields={}), "is of another"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_bank_is_rebuilt_with_one_line(cache: Path, name: str) -> None:
    spoil, reason = SPOILT[name]
    right = toys.cached_banks(cache)["pixel"]
    spoil(only_folder(cache))
    runner = run(distilled(cache))
    found = lines(toys.log_of(runner), "Building: ")
    assert len(found) == 1
    assert reason in found[0]
    assert str(only_folder(cache)) in found[0]
    assert runner.iter == 3
    assert toys.same_state(toys.cached_banks(cache)["pixel"], right)
    assert "Building" not in toys.log_of(run(distilled(cache)))


def other_teacher(cfg: Config) -> None:
    toy = toys.segmenter()
    path = save_teacher(toy.teacher_cfg, toys.new_folder() / "other.pth", seed=2)
    cfg.custom_hooks[0].teacher.checkpoint = str(path)


def other_data(cfg: Config) -> None:
    data = make_scenes(toys.new_folder(), count=5)
    cfg.train_dataloader.dataset.data_root = str(data)


def other_pipeline(cfg: Config) -> None:
    resize = dict(type="Resize", scale=(32, 24))
    cfg.val_dataloader.dataset.pipeline.insert(1, resize)


def set_bank(**options: Any) -> Callable[[Config], None]:
    return lambda cfg: cfg.custom_hooks[0].bank.update(options)


OTHER: dict[str, tuple[Callable[[Config], None], str]] = {
    "teacher": (other_teacher, "teacher_weights"),
    "data set": (other_data, "images"),
    "pipeline": (other_pipeline, "pipeline"),
    "dtype": (set_bank(dtype="fp32"), "dtype"),
    "seed": (set_bank(seed=5), "seed"),
    "pixels_per_image": (set_bank(pixels_per_image=3), "pixels_per_image"),
    "capacity": (set_bank(capacity_per_class=9), "capacity_per_class"),
    "max_images": (set_bank(max_images=3), "images"),
}


@pytest.mark.parametrize("name", OTHER)
def test_bank_of_another_kind_is_left_alone(cache: Path, name: str) -> None:
    change, field = OTHER[name]
    old = only_folder(cache)
    cfg = distilled(cache)
    change(cfg)
    found = lines(toys.log_of(run(cfg)), "Building: ")
    assert len(found) == 1
    assert f"the nearest one, {old}, has another" in found[0]
    assert field in found[0].partition("has another")[2]
    assert len(folders(cache)) == 2
    assert (old / "bank.safetensors").exists()


def test_image_that_was_changed_since_is_noticed(cache: Path) -> None:
    path = toys.segmenter().data / "img_dir/train/0.png"
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    try:
        log = toys.log_of(run(distilled(cache)))
    finally:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (line,) = lines(log, "Building: ")
    assert line.endswith("has another images)")


def test_cache_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    runner = run(distilled(blocked / "cache"))
    (warning,) = lines(toys.log_of(runner), "cannot be cached")
    assert "WARNING" in warning
    assert str(blocked) in warning
    assert "bank.cache_dir" in warning
    assert runner.iter == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_cache_is_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    runner = run(distilled(tmp_path))
    assert lines(toys.log_of(runner), "cannot be cached")
    assert runner.iter == 3


def test_no_cache_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMICKD_CACHE_DIR", str(tmp_path))
    log = toys.log_of(run(distilled(None)))
    assert "Building the memory bank" in log
    assert "cached" not in log
    assert not list(tmp_path.iterdir())


def test_auto_is_the_environment_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMICKD_CACHE_DIR", str(tmp_path / "deep" / "folder"))
    run(distilled("auto"))
    assert set(toys.cached_banks(tmp_path / "deep" / "folder")) == {"pixel"}


def test_a_run_from_the_cache_is_the_run_that_built_it(cache: Path) -> None:
    cached = run(distilled(cache)).model.state_dict()
    built = run(distilled(None)).model.state_dict()
    assert toys.same_state(dict(cached), dict(built))
    assert all(torch.isfinite(v).all() for v in cached.values())


def test_levels_are_cached_one_by_one(cache: Path) -> None:
    cfg = distilled(cache)
    cfg.custom_hooks[0].level = ["pixel", "region"]
    log = toys.log_of(run(cfg))
    assert len(lines(log, "memory bank from /")) == 1
    assert len(lines(log, "Building: ")) == 1
    assert set(toys.cached_banks(cache)) == {"pixel", "region"}


@pytest.mark.slow
def test_two_runs_at_once_build_one_bank(tmp_path: Path) -> None:
    """The second waits for the lock of the first, whichever that is, and reads its bank."""
    files = []
    for number in range(2):
        cfg = distilled(tmp_path / "cache", num_workers=1)
        files.append(tmp_path / f"run{number}.py")
        with plain_config_text():
            cfg.dump(files[-1])

    def train(file: Path) -> CommandResult:
        work_dir = file.with_suffix("")
        return command(
            *(sys.executable, ROOT / "tools/train.py", file, "--work-dir", work_dir), timeout=280
        )

    with ThreadPoolExecutor() as pool:
        logs = [outcome.ok() for outcome in pool.map(train, files)]
    log = "\n".join(logs)
    assert len(lines(log, "Building: ")) == 1
    assert len(lines(log, f"memory bank from {only_folder(tmp_path / 'cache')}")) == 1
    states = [
        torch.load(file.with_suffix("") / "iter_3.pth", weights_only=False)["state_dict"]
        for file in files
    ]
    assert toys.same_state(*states)


def test_the_cache_stays_below_its_limit(cache: Path) -> None:
    old = only_folder(cache)
    log = toys.log_of(run(distilled(cache, cache_limit=1e-6, seed=9)))
    (line,) = lines(log, "Removed the memory bank")
    assert str(old) in line and "bank.cache_limit" in line
    assert only_folder(cache) != old
    assert "Building" not in toys.log_of(run(distilled(cache, cache_limit=None, seed=9)))


@pytest.mark.parametrize("limit", [0, -1.0, "10", True, float("inf"), float("nan")])
def test_a_limit_that_is_none(limit: Any) -> None:
    with pytest.raises(ICKDError, match=r"^cache_limit=.*positive number"):
        BankOptions(cache_limit=limit)
