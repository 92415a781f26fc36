"""Several runs, one after the other, in one group of processes on the CPU.

Starting a group takes longer than a tiny run, so the runs share the processes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from tests.helpers import toys
from tests.helpers.ranks import on_ranks, read_rank_config
from tests.helpers.tiny import dump, history, run, scalar_names


def run_together(cfgs: dict[str, Config], ranks: int = 2) -> dict[str, list[dict[str, Any]]]:
    """Return :func:`_train` of each run, one result per rank."""
    folder = toys.new_folder()
    for name, cfg in cfgs.items():
        cfg.custom_imports = dict(imports=["tests.runs.compatibility.parts"])
        dump(cfg, folder / f"{name}.py")
    by_rank = on_ranks(ranks, _train_all, folder, timeout=500)
    return {name: [results[name] for results in by_rank] for name in cfgs}


def assert_ranks_agree(ranks: list[dict[str, Any]]) -> None:
    """Assert that every rank ends without an error and with the same parameters."""
    for rank in ranks:
        assert "error" not in rank, rank["error"]
        assert toys.same_state(rank["parameters"], ranks[0]["parameters"])


def assert_same_losses(result: dict[str, Any], expected: dict[str, Any]) -> None:
    """Assert that two runs log the same losses up to the order of additions."""
    assert "error" not in result, result["error"]
    assert {"loss", "loss_kd"} <= expected["losses"].keys()
    assert result["losses"].keys() == expected["losses"].keys()
    for name, values in expected["losses"].items():
        assert result["losses"][name] == pytest.approx(values, rel=1e-4, abs=1e-6), name


def two_rank_config(scope: str, hook: bool = True, **changes: Any) -> Config:
    """Return a run of a classifier (image level) or of a segmenter (pixel and region level)."""
    toy = toys.toy(scope)
    cfg = toy.student(**changes)
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    level = None if scope == "mmpretrain" else ["pixel", "region"]
    return toy.distilled(cfg, level=level) if hook else cfg


def _train(cfg: Config) -> dict[str, Any]:
    """Return logged losses and parameters of a run, or the error that ended it."""
    try:
        runner = run(cfg)
    except Exception as error:
        return dict(error=f"{type(error).__name__}: {error}")
    return dict(
        losses={name: history(runner, name) for name in scalar_names(runner, "loss")},
        parameters={n: p.detach() for n, p in runner.model.named_parameters()},
        wrapper=type(runner.model).__name__,
        iterations=runner.iter,
    )


def _train_all(folder: Path) -> dict[str, dict[str, Any]]:
    """Return :func:`_train` of each run on this rank, by name."""
    os.environ["MMICKD_CACHE_DIR"] = str(folder)
    return {path.stem: _train(read_rank_config(path)) for path in sorted(folder.glob("*.py"))}
