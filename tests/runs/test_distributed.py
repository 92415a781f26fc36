"""Several ranks on the CPU build the same bank and train as one.

Where it does not matter what starts them, they are forks, which need no imports.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from tests.helpers import toys
from tests.helpers.commands import ROOT, CommandResult, command
from tests.helpers.logs import BUILDS, READS
from tests.helpers.rank_dump import read_rank_dumps, with_rank_dump
from tests.helpers.ranks import on_ranks, read_rank_config
from tests.helpers.tiny import make_class_folders, run
from tests.helpers.web import served

# neither the 18 nor the 6 images can be divided by the batch size of the bank (4)
CASES: dict[str, Any] = {"mmpretrain": "image", "mmseg": ["pixel", "region"]}
BY_EPOCH = dict(kd=dict(loss_weight=dict(value=1.0, end=1, by_epoch=True), dense=True))


def config(scope: str, cache: Path | None, **bank: Any) -> Config:
    bank.update(cache_dir=cache and str(cache), batch_size=4, capacity_per_class=20)
    cfg = toys.toy(scope).distilled(level=CASES[scope], bank=bank, losses=BY_EPOCH)
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    return cfg


def launch(cfg: Config) -> CommandResult:
    """Train two ranks by the script."""
    file = with_rank_dump(cfg)
    return command(
        "bash", ROOT / "tools/dist_train.sh", file, "2", cwd=file.parent,
        PYTHONPATH=str(ROOT), MMICKD_CACHE_DIR=str(file.parent),
    )  # fmt: skip


def train(cfg: Config, ranks: int) -> str:
    """Train forked ranks and return the log of rank 0."""
    return on_ranks(ranks, train_rank, with_rank_dump(cfg))[0]


def train_rank(file: Path) -> str:
    return toys.log_of(run(read_rank_config(file)))


@pytest.mark.parametrize("scope", CASES)
def test_bank_and_parameters_equal_those_of_one_rank(scope: str) -> None:
    cache = toys.new_folder()
    run(config(scope, cache))
    expected = toys.cached_banks(cache)
    assert set(expected) == ({"image"} if scope == "mmpretrain" else {"pixel", "region"})
    for ranks in (2, 3):
        cfg = config(scope, None)
        train(cfg, ranks)
        dumps = read_rank_dumps(cfg, ranks)
        for dump in dumps:
            assert dump["world_size"] == ranks
            for name, bank in expected.items():
                assert toys.same_state(dump["banks"][name], bank), (name, ranks)
            assert toys.same_state(dump["parameters"], dumps[0]["parameters"])
        # a schedule counts the epochs of all ranks together
        per_epoch = {"mmpretrain": {2: 3, 3: 2}, "mmseg": {2: 2, 3: 1}}[scope][ranks]
        assert [v > 0 for v in dumps[0]["losses"]["loss_kd"]] == [i < per_epoch for i in range(3)]


def test_a_cached_bank_reaches_all_ranks() -> None:
    cache = toys.new_folder()
    run(config("mmseg", cache))
    cfg = config("mmseg", cache)
    text = launch(cfg).ok()
    assert text.count(f"{READS}/") == 2 and BUILDS not in text
    for dump in read_rank_dumps(cfg):
        for name, bank in toys.cached_banks(cache).items():
            assert toys.same_state(dump["banks"][name], bank)


@pytest.mark.parametrize("scope", CASES)
def test_a_sharded_bank_trains_as_a_whole_one_does(scope: str) -> None:
    cache = toys.new_folder()
    run(config(scope, cache))
    sharded, whole = config(scope, cache, shard=True), config(scope, cache, shard=False)
    assert "rank 0's 1/2 of" in train(sharded, 2)
    train(whole, 2)
    shard_dumps, whole_dumps = read_rank_dumps(sharded), read_rank_dumps(whole)
    for level, bank in whole_dumps[0]["banks"].items():
        for name, rows in bank.items():
            for rank in (0, 1):
                assert torch.equal(shard_dumps[rank]["banks"][level][name], rows[rank::2]), name
    for dump, expected in zip(shard_dumps, whole_dumps, strict=True):
        assert dump["losses"].keys() == expected["losses"].keys() > {"loss_kd"}
        for name, values in expected["losses"].items():
            assert dump["losses"][name] == pytest.approx(values, rel=1e-4, abs=1e-6), name
        for name, value in expected["parameters"].items():
            assert torch.allclose(dump["parameters"][name], value, atol=1e-5), name


def test_a_bad_image_of_one_rank_stops_all_ranks() -> None:
    image = "c0/5.png"  # in the second batch, hence read by rank 1
    data = make_class_folders(toys.new_folder())
    (data / "train" / image).write_bytes(b"no picture")
    cfg = config("mmpretrain", None)
    cfg.train_dataloader.dataset.data_root = str(data)
    result = launch(cfg)
    assert result.code != 0
    assert "memory bank" in result.text and image in result.text
    assert result.seconds < 90
    assert not list(Path(cfg.work_dir).glob("*.pth"))


def test_a_teacher_by_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine's local process group does not exist in such a run."""
    monkeypatch.setenv("TORCH_HOME", str(toys.new_folder()))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    cfg = config("mmpretrain", None)
    with served(toys.classifier().checkpoint.parent) as web:
        cfg.custom_hooks[0].teacher.checkpoint = f"{web.url}/teacher.pth"
        launch(cfg).ok()
    assert web.paths == ["/teacher.pth"]
    for dump in read_rank_dumps(cfg):
        assert all(value > 0 for value in dump["losses"]["loss_picd"])
