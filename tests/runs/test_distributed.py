"""Several ranks on the CPU build one and the same bank and train as one.

Where it does not matter who starts them they are forks, which have nothing to import.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmickd.commands.launching import prepare_launch
from tests.helpers import toys
from tests.helpers.commands import ROOT, CommandResult, command
from tests.helpers.ranks import on_ranks
from tests.helpers.tiny import make_class_folders, plain_config_text, run
from tests.helpers.web import served

# one image is left over in every way: 18 and 6 images, in batches of 4 and 4 for the bank
CASES: dict[str, Any] = {"mmpretrain": "image", "mmseg": ["pixel", "region"]}
BY_EPOCH = dict(kd=dict(loss_weight=dict(value=1.0, end=1, by_epoch=True)))


def config(scope: str, level: Any, cache: Path | None, **bank: Any) -> Config:
    bank.update(cache_dir=cache and str(cache), batch_size=4, capacity_per_class=20)
    cfg = toys.toy(scope).distilled(level=level, bank=bank, losses=BY_EPOCH)
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    return cfg


def written(cfg: Config) -> Path:
    """The config in a file, with a hook that writes what each rank holds."""
    cfg = cfg.copy()
    cfg.custom_imports = dict(imports=["tests.helpers.rank_dump"])
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="RankDump")]
    file = toys.new_folder() / "run.py"
    with plain_config_text():
        cfg.dump(file)
    return file


def launch(cfg: Config, ranks: int) -> CommandResult:
    """By the script."""
    file = written(cfg)
    return command(
        "bash", ROOT / "tools/dist_train.sh", file, str(ranks), cwd=file.parent,
        PYTHONPATH=str(ROOT), MMICKD_CACHE_DIR=str(file.parent),
    )  # fmt: skip


def train(cfg: Config, ranks: int) -> str:
    """By forked ranks; the log of rank 0."""
    return on_ranks(ranks, train_rank, written(cfg))[0]


def train_rank(file: Path) -> str:
    cfg = Config.fromfile(file)
    cfg.launcher = "pytorch"
    prepare_launch(cfg)
    return toys.log_of(run(cfg))


def dumps(cfg: Config, ranks: int) -> list[dict[str, Any]]:
    paths = [Path(cfg.work_dir) / f"rank{rank}.pt" for rank in range(ranks)]
    return [torch.load(path) for path in paths]


@pytest.mark.slow
@pytest.mark.parametrize("scope", CASES)
def test_bank_and_parameters_are_those_of_one_rank(scope: str) -> None:
    level = CASES[scope]
    cache = toys.new_folder()
    run(config(scope, level, cache))
    alone = toys.cached_banks(cache)
    assert set(alone) == ({level} if isinstance(level, str) else set(level))
    for ranks in (2, 3):
        cfg = config(scope, level, None)
        train(cfg, ranks)
        held = dumps(cfg, ranks)
        for dump in held:
            assert dump["world_size"] == ranks
            for name, bank in alone.items():
                assert toys.same_state(dump["banks"][name], bank), (name, ranks)
            assert toys.same_state(dump["parameters"], held[0]["parameters"])
        # the epochs of a schedule are those of all ranks together
        per_epoch = {"mmpretrain": {2: 3, 3: 2}, "mmseg": {2: 2, 3: 1}}[scope][ranks]
        assert [v > 0 for v in held[0]["losses"]["loss_kd"]] == [i < per_epoch for i in range(3)]


@pytest.mark.slow
def test_a_cached_bank_reaches_all_ranks() -> None:
    cache = toys.new_folder()
    run(config("mmseg", ["pixel", "region"], cache))
    cfg = config("mmseg", ["pixel", "region"], cache)
    text = launch(cfg, 2).ok()
    assert text.count("memory bank from /") == 2
    assert "Building" not in text
    for dump in dumps(cfg, 2):
        for name, bank in toys.cached_banks(cache).items():
            assert toys.same_state(dump["banks"][name], bank)


@pytest.mark.slow
@pytest.mark.parametrize("scope", CASES)
def test_a_dealt_bank_teaches_what_a_whole_one_does(scope: str) -> None:
    cache = toys.new_folder()
    run(config(scope, CASES[scope], cache))
    dealt = config(scope, CASES[scope], cache, shard=True)
    whole = config(scope, CASES[scope], cache, shard=False)
    assert "rank 0's 1/2 of" in train(dealt, 2)
    train(whole, 2)
    parts, wholes = dumps(dealt, 2), dumps(whole, 2)
    for level, bank in wholes[0]["banks"].items():
        for name, rows in bank.items():
            for rank in (0, 1):
                assert torch.equal(parts[rank]["banks"][level][name], rows[rank::2]), name
    for part, full in zip(parts, wholes, strict=True):
        assert part["losses"].keys() == full["losses"].keys() > {"loss_kd"}
        for name, values in full["losses"].items():
            assert part["losses"][name] == pytest.approx(values, rel=1e-4, abs=1e-6), name
        for name, value in full["parameters"].items():
            assert torch.allclose(part["parameters"][name], value, atol=1e-5), name


@pytest.mark.slow
def test_a_bad_image_of_one_rank_stops_all() -> None:
    image = "c0/5.png"  # in the second batch, hence of rank 1
    data = make_class_folders(toys.new_folder())
    (data / "train" / image).write_bytes(b"no picture")
    cfg = config("mmpretrain", "image", None)
    cfg.train_dataloader.dataset.data_root = str(data)
    ended = launch(cfg, 2)
    assert ended.code != 0
    assert "memory bank cannot be built" in ended.text
    assert image in ended.text
    assert ended.seconds < 90
    assert not list(Path(cfg.work_dir).glob("*.pth"))


@pytest.mark.slow
def test_a_teacher_by_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has made mmengine's local process group in such a run."""
    monkeypatch.setenv("TORCH_HOME", str(toys.new_folder()))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    cfg = config("mmpretrain", "image", None)
    with served(toys.classifier().checkpoint.parent) as web:
        cfg.custom_hooks[0].teacher.checkpoint = f"{web.url}/teacher.pth"
        text = launch(cfg, 2).ok()
    assert web.paths == ["/teacher.pth"]
    assert "The teacher's weights are " in text
    assert all(value > 0 for dump in dumps(cfg, 2) for value in dump["losses"]["loss_picd"])
