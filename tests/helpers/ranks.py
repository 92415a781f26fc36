"""Functions that run on several gloo ranks at once, in processes of their own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as torch_dist
import torch.multiprocessing as mp

from tests.helpers.warm import start_method, take_over


def on_ranks(
    world_size: int, function: Callable[..., Any], *args: Any, timeout: float = 120.0
) -> list[Any]:
    """What ``function(*args)`` returns on each rank.

    Args:
        world_size: how many ranks.
        function: of a module, so that a new process can import it.
        args: for every rank.
        timeout: seconds that a collective of the default group may take.

    Raises:
        ProcessRaisedException: with the traceback of the first rank that failed.
    """
    with tempfile.TemporaryDirectory(prefix="mmickd-ranks-") as folder:
        here = dict(os.environ), os.getcwd()
        given = (world_size, folder, timeout, here, function, args)
        mp.start_processes(_rank, given, nprocs=world_size, start_method=start_method())
        return [torch.load(f"{folder}/{rank}.pt", weights_only=False) for rank in range(world_size)]


def _rank(
    rank: int,
    world_size: int,
    folder: str,
    timeout: float,
    here: tuple[dict[str, str], str],
    function: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    take_over(*here)
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
    torch.save(function(*args), f"{folder}/{rank}.pt")
    if torch_dist.is_initialized():
        torch_dist.destroy_process_group()
