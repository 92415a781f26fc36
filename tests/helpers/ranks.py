"""Functions that run on several gloo ranks at once, each in its own process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as torch_dist
import torch.multiprocessing as mp
from mmengine.config import Config

from mmickd.commands.launching import prepare_launch
from tests.helpers.forkserver import inherit, start_method


def on_ranks(
    world_size: int, function: Callable[..., Any], *args: Any, timeout: float = 120.0
) -> list[Any]:
    """Return the results of ``function(*args)``, one per rank.

    Args:
        world_size: Number of ranks.
        function: Function of a module, so that a new process can import it.
        args: Arguments for every rank.
        timeout: Seconds that a collective of the default group may take.

    Raises:
        ProcessRaisedException: If a rank fails; it has the traceback of the first one.
    """
    with tempfile.TemporaryDirectory(prefix="mmickd-ranks-") as folder:
        surroundings = dict(os.environ), os.getcwd()
        rank_args = (world_size, folder, timeout, surroundings, function, args)
        mp.start_processes(_run_rank, rank_args, nprocs=world_size, start_method=start_method())
        return [torch.load(f"{folder}/{rank}.pt", weights_only=False) for rank in range(world_size)]


def read_rank_config(path: Path) -> Config:
    """Read a config on a rank of :func:`on_ranks`, for mmengine to join the ranks' group."""
    cfg = Config.fromfile(path)
    cfg.launcher = "pytorch"
    prepare_launch(cfg)
    return cfg


def _run_rank(
    rank: int,
    world_size: int,
    folder: str,
    timeout: float,
    surroundings: tuple[dict[str, str], str],
    function: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    inherit(*surroundings)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size), MASTER_ADDR=""
    )
    torch_dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=timeout),
    )
    # A rank whose function is short would leave while another is still connecting to it.
    torch_dist.barrier()
    torch.save(function(*args), f"{folder}/{rank}.pt")
    if torch_dist.is_initialized():
        torch_dist.destroy_process_group()
