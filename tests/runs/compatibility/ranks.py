"""Several runs, one after the other, by one group of processes on the CPU.

Joining a group takes longer than a tiny run does, so the runs share the processes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmickd.commands.launching import prepare_launch
from tests.helpers import toys
from tests.helpers.ranks import on_ranks
from tests.helpers.tiny import history, plain_config_text, run


def run_together(cfgs: dict[str, Config], ranks: int = 2) -> dict[str, list[dict[str, Any]]]:
    """What :func:`_outcome` says of each run, by rank."""
    folder = toys.new_folder()
    with plain_config_text():
        for name, cfg in cfgs.items():
            cfg.launcher = "pytorch"
            cfg.custom_imports = dict(imports=["tests.runs.compatibility.parts"])
            cfg.dump(folder / f"{name}.py")
    found = on_ranks(ranks, _outcomes, folder, timeout=500)
    return {name: [outcomes[name] for outcomes in found] for name in cfgs}


def assert_ranks_agree(ranks: list[dict[str, Any]]) -> None:
    """Every rank has ended well, with the same parameters."""
    for rank in ranks:
        assert "error" not in rank, rank["error"]
        assert toys.same_state(rank["parameters"], ranks[0]["parameters"])


def assert_same_losses(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Both runs have logged the same, up to the order of additions."""
    assert "error" not in found, found["error"]
    assert {"loss", "loss_kd"} <= wanted["losses"].keys()
    assert found["losses"].keys() == wanted["losses"].keys()
    for name, values in wanted["losses"].items():
        assert found["losses"][name] == pytest.approx(values, rel=1e-4, abs=1e-6), name


def two_rank_config(scope: str, hook: bool = True, **changes: Any) -> Config:
    """A run for two ranks: a classifier at image level, a segmenter at pixel and region level."""
    toy = toys.toy(scope)
    cfg = toy.student(**changes)
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    level = None if scope == "mmpretrain" else ["pixel", "region"]
    return toy.distilled(cfg, level=level) if hook else cfg


def _outcome(cfg: Config) -> dict[str, Any]:
    """Logged losses and parameters of a run, or the error that ended it."""
    prepare_launch(cfg)
    try:
        runner = run(cfg)
    except Exception as error:
        return dict(error=f"{type(error).__name__}: {error}")
    scalars = [name.removeprefix("train/") for name in runner.message_hub.log_scalars]
    logged = [name for name in scalars if "loss" in name]
    return dict(
        losses={name: history(runner, name) for name in logged},
        parameters={n: p.detach() for n, p in runner.model.named_parameters()},
        wrapper=type(runner.model).__name__,
        iterations=runner.iter,
    )


def _outcomes(folder: Path) -> dict[str, dict[str, Any]]:
    """On one rank; by name of the run."""
    os.environ["MMICKD_CACHE_DIR"] = str(folder)
    return {path.stem: _outcome(Config.fromfile(path)) for path in sorted(folder.glob("*.py"))}
