"""``mmickd bank CONFIG``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmickd.commands import bank
from mmickd.storage.image_names import NAMES, read_names
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.learning_runs import online_config, self_config
from tests.helpers.ranks import on_ranks
from tests.helpers.tiny import plain_config_text, run

CASES = {"mmpretrain": ["image"], "mmseg": ["pixel", "region"]}


def written(cfg: Config, folder: Path) -> str:
    """Write a config to a file, and return its path."""
    with plain_config_text():
        cfg.dump(folder / "run.py")
    return str(folder / "run.py")


def config(scope: str, cache: Path, **bank: Any) -> Config:
    bank = {"cache_dir": str(cache), **bank}
    level = CASES[scope] if scope == "mmseg" else None
    return toys.toy(scope).distilled(level=level, bank=bank)


def call(*words: str) -> int:
    with plain_config_text():
        return bank.main(words) or 0


@pytest.mark.parametrize("scope", CASES)
def test_a_bank_is_built_once_and_found_by_the_next_call_and_by_the_run(
    scope: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg, out = config(scope, tmp_path / "cache"), tmp_path / "facts.json"
    file = written(cfg, tmp_path)
    for is_found in (False, True):
        assert call(file, "--json", str(out)) == 0
        banks = json.loads(out.read_text())["banks"]
        stored = toys.cached_banks(tmp_path / "cache")
        assert [facts["level"] for facts in banks] == CASES[scope]
        for facts in banks:
            folder, rows = Path(facts["folder"]), stored[facts["level"]]
            assert facts["found"] is is_found and facts["rows"] == len(rows["labels"])
            assert facts["bytes"] == sum(part.stat().st_size for part in folder.iterdir())
            assert set(rows["ids"].tolist()) == set(read_names(folder))
        lines = capsys.readouterr().out.splitlines()
        assert all(f"{facts['level']} bank: {facts['folder']}" in lines for facts in banks)
        states = [line.rpartition(" ")[2] for line in lines]
        assert states.count("found" if is_found else "built") == len(banks)
        assert states[-1] == str(out)
    assert not Path(cfg.work_dir).joinpath("run.py").exists(), "nothing is left in the work dir"
    assert call("verify", "--cache-dir", str(tmp_path / "cache")) == 0
    assert "Building" not in toys.log_of(run(cfg))


def test_an_older_bank_gets_its_names(tmp_path: Path) -> None:
    file = written(config("mmpretrain", tmp_path / "cache"), tmp_path)
    call(file)
    (names,) = tmp_path.glob(f"cache/*/{NAMES}")
    tensors = names.with_name("bank.safetensors")
    before, inode = read_names(names.parent), tensors.stat().st_ino
    names.unlink()
    call(file)
    assert read_names(names.parent) == before and len(before) == 18
    assert tensors.stat().st_ino == inode, "it was not built anew"


def test_configs_whose_runs_have_no_bank(tmp_path: Path) -> None:
    toy, cache = toys.classifier(), dict(cache_dir=str(tmp_path / "cache"))
    cases = {
        "cache_dir=None": toy.distilled(bank=dict(cache_dir=None)),
        "learns with the student": self_config("mmpretrain", None),
        "queues in memory": online_config("mmpretrain", None),
        "no loss retrieves": toy.distilled(losses=toys.KD_ONLY, bank=cache),
        "exactly one": toy.student(),
    }
    for reason, cfg in cases.items():
        with pytest.raises(ICKDError, match=reason):
            call(written(cfg, tmp_path))
    missing = toy.distilled(bank=cache)
    missing.train_dataloader.dataset.data_root = str(tmp_path / "none")
    with pytest.raises(ICKDError, match="missing or empty"):
        call(written(missing, tmp_path))
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    file = written(config("mmpretrain", tmp_path / "file" / "cache"), tmp_path)
    with pytest.raises(ICKDError, match=r"file/cache.*bank\.cache_dir"):
        call(file)


def test_stopped_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while images are read leaves no bank; the next call builds it."""
    file = written(config("mmpretrain", tmp_path / "cache"), tmp_path)

    def interrupted(*args: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mmickd.building.build.is_finite", interrupted)  # the last check of a batch
        with pytest.raises(KeyboardInterrupt):
            call(file)
    assert not list(tmp_path.glob("cache/*/*"))
    assert call(file) == 0
    assert call("verify", "--cache-dir", str(tmp_path / "cache")) == 0


def build_rank(file: str) -> int:
    return call(file, "--launcher", "pytorch")


@pytest.mark.slow
def test_several_ranks_build_the_bank_of_one(tmp_path: Path) -> None:
    call(written(config("mmseg", tmp_path / "one"), tmp_path))
    assert on_ranks(2, build_rank, written(config("mmseg", tmp_path / "two"), tmp_path)) == [0, 0]
    first, second = (toys.cached_banks(tmp_path / name) for name in ("one", "two"))
    assert toys.same_state(first, second) and set(second) == set(CASES["mmseg"])
