"""A valid bank is read from the cache; any other is rebuilt, and one line logs the reason."""

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
from tests.helpers.logs import BUILDS, READS, REASON, lines_with
from tests.helpers.tiny import dump, make_scenes, run, save_teacher


@pytest.fixture(scope="module")
def filled() -> Path:
    """Return a cache with the bank of the segmenter."""
    cache = toys.new_folder()
    log = toys.log_of(run(distilled(cache)))
    assert f"cached in {cache}" in log
    (reason,) = lines_with(log, REASON)
    assert str(cache) in reason
    return cache


@pytest.fixture
def cache(filled: Path) -> Path:
    """Return a copy of the cache."""
    copied = toys.new_folder() / "cache"
    shutil.copytree(filled, copied)
    return copied


def distilled(cache: Any, **options: Any) -> Config:
    bank = dict(cache_dir=None if cache is None else str(cache), **options)
    return toys.segmenter().distilled(bank=bank)


def only_folder(cache: Path) -> Path:
    (folder,) = folders(cache)
    return folder


def folders(cache: Path) -> list[Path]:
    """Return the folders of the banks; the files beside them are locks."""
    return [path for path in cache.iterdir() if path.is_dir()]


def test_the_second_run_reads_the_bank(cache: Path) -> None:
    before = toys.cached_banks(cache)["pixel"]
    log = toys.log_of(run(distilled(cache)))
    assert len(lines_with(log, f"{READS}{only_folder(cache)}")) == 1
    assert BUILDS not in log
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


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (truncate, "truncated"),
    "altered": (alter, "truncated"),
    "tensors missing": (lambda f: (f / "bank.safetensors").unlink(), "cannot be read"),
    "manifest missing": (lambda f: (f / "manifest.json").unlink(), "cannot be read"),
    "manifest truncated": (lambda f: (f / "manifest.json").write_text('{"for'), "cannot be read"),
    "manifest is a list": (lambda f: (f / "manifest.json").write_text("[]"), "cannot be read"),
    "other format": (set_in_manifest(format=0), "format 0"),
    "other fields": (set_in_manifest(fields={}), "another"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_bank_is_rebuilt_with_one_line(cache: Path, name: str) -> None:
    damage, reason = DAMAGES[name]
    expected = toys.cached_banks(cache)["pixel"]
    damage(only_folder(cache))
    runner = run(distilled(cache))
    (line,) = lines_with(toys.log_of(runner), REASON)
    assert reason in line and str(only_folder(cache)) in line
    assert runner.iter == 3
    assert toys.same_state(toys.cached_banks(cache)["pixel"], expected)
    assert BUILDS not in toys.log_of(run(distilled(cache)))


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


CHANGES: dict[str, tuple[Callable[[Config], None], str]] = {
    "teacher": (other_teacher, "teacher_weights"),
    "data set": (other_data, "images"),
    "pipeline": (other_pipeline, "pipeline"),
    "dtype": (set_bank(dtype="fp32"), "dtype"),
    "seed": (set_bank(seed=5), "seed"),
    "pixels_per_image": (set_bank(pixels_per_image=3), "pixels_per_image"),
    "capacity": (set_bank(capacity_per_class=9), "capacity_per_class"),
    "max_images": (set_bank(max_images=3), "images"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_bank_of_other_fields_stays_in_the_cache(cache: Path, name: str) -> None:
    change, field = CHANGES[name]
    old = only_folder(cache)
    cfg = distilled(cache)
    change(cfg)
    (line,) = lines_with(toys.log_of(run(cfg)), REASON)
    assert field in line.partition(str(old))[2]
    assert len(folders(cache)) == 2
    assert (old / "bank.safetensors").exists()


def test_a_bank_is_rebuilt_if_an_image_has_changed(cache: Path) -> None:
    path = toys.segmenter().data / "img_dir/train/0.png"
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    try:
        log = toys.log_of(run(distilled(cache)))
    finally:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (line,) = lines_with(log, REASON)
    assert "images" in line.partition(str(cache))[2]


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    runner = run(distilled(blocked / "cache"))
    (warning,) = lines_with(toys.log_of(runner), "cannot be cached")
    assert "WARNING" in warning
    assert str(blocked) in warning
    assert "bank.cache_dir" in warning
    assert runner.iter == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_is_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    runner = run(distilled(tmp_path))
    assert lines_with(toys.log_of(runner), "cannot be cached")
    assert runner.iter == 3


def test_without_a_cache_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMICKD_CACHE_DIR", str(tmp_path))
    log = toys.log_of(run(distilled(None)))
    assert BUILDS in log and "cached" not in log
    assert not list(tmp_path.iterdir())


def test_auto_reads_the_environment_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMICKD_CACHE_DIR", str(tmp_path / "deep" / "folder"))
    run(distilled("auto"))
    assert set(toys.cached_banks(tmp_path / "deep" / "folder")) == {"pixel"}


def test_a_run_with_a_cached_bank_equals_the_run_that_built_it(cache: Path) -> None:
    cached = run(distilled(cache)).model.state_dict()
    built = run(distilled(None)).model.state_dict()
    assert toys.same_state(cached, built)
    assert all(torch.isfinite(v).all() for v in cached.values())


def test_levels_are_cached_one_by_one(cache: Path) -> None:
    cfg = distilled(cache)
    cfg.custom_hooks[0].level = ["pixel", "region"]
    log = toys.log_of(run(cfg))
    assert len(lines_with(log, f"{READS}/")) == 1
    assert len(lines_with(log, REASON)) == 1
    assert set(toys.cached_banks(cache)) == {"pixel", "region"}


@pytest.mark.slow
def test_two_runs_at_once_build_one_bank(tmp_path: Path) -> None:
    """The run that comes second waits for the lock of the other one and reads its bank."""
    files = []
    for number in range(2):
        cfg = distilled(tmp_path / "cache", num_workers=1)
        files.append(dump(cfg, tmp_path / f"run{number}.py"))

    def train(file: Path) -> CommandResult:
        work_dir = file.with_suffix("")
        return command(
            *(sys.executable, ROOT / "tools/train.py", file, "--work-dir", work_dir), timeout=280
        )

    with ThreadPoolExecutor() as pool:
        logs = [result.ok() for result in pool.map(train, files)]
    log = "\n".join(logs)
    assert len(lines_with(log, REASON)) == 1
    assert len(lines_with(log, f"{READS}{only_folder(tmp_path / 'cache')}")) == 1
    states = [
        torch.load(file.with_suffix("") / "iter_3.pth", weights_only=False)["state_dict"]
        for file in files
    ]
    assert toys.same_state(*states)


def test_the_cache_stays_below_its_limit(cache: Path) -> None:
    old = only_folder(cache)
    log = toys.log_of(run(distilled(cache, cache_limit=1e-6, seed=9)))
    (line,) = lines_with(log, "Removed")
    assert str(old) in line and "bank.cache_limit" in line
    assert only_folder(cache) != old
    assert BUILDS not in toys.log_of(run(distilled(cache, cache_limit=None, seed=9)))


@pytest.mark.parametrize("limit", [0, -1.0, "10", True, float("inf"), float("nan")])
def test_an_invalid_limit(limit: Any) -> None:
    with pytest.raises(ICKDError, match=r"^cache_limit=.*positive number"):
        BankOptions(cache_limit=limit)
