"""Several runs, one after the other, by one group of processes on the CPU.

Importing everything takes longer than a tiny run does, so the runs share the processes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmickd.commands.launching import prepare_launch
from tests.helpers import toys
from tests.helpers.commands import ROOT, command
from tests.helpers.tiny import history, plain_config_text, run


def run_together(cfgs: dict[str, Config], ranks: int = 2) -> dict[str, list[dict[str, Any]]]:
    """What :func:`_outcome` says of each run, by rank."""
    folder = toys.new_folder()
    with plain_config_text():
        for name, cfg in cfgs.items():
            cfg.launcher = "pytorch"
            cfg.custom_imports = dict(imports=["tests.runs.compatibility.parts"])
            cfg.dump(folder / f"{name}.py")
    command(
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}",
        "-m", "tests.runs.compatibility.ranks", folder, cwd=ROOT, timeout=500,
        MMICKD_CACHE_DIR=str(folder),
    ).ok()  # fmt: skip
    return {
        name: [torch.load(folder / f"{name}.{rank}.pt") for rank in range(ranks)] for name in cfgs
    }


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


def _main(folder: Path) -> None:
    for path in sorted(folder.glob("*.py")):
        outcome = _outcome(Config.fromfile(path))
        rank = torch.distributed.get_rank()
        torch.save(outcome, folder / f"{path.stem}.{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    _main(Path(sys.argv[1]))
