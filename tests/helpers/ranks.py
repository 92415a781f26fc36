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
        mp.spawn(_rank, (world_size, folder, timeout, function, args), nprocs=world_size)
        return [torch.load(f"{folder}/{rank}.pt", weights_only=False) for rank in range(world_size)]


def _rank(
    rank: int,
    world_size: int,
    folder: str,
    timeout: float,
    function: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    torch.set_num_threads(1)
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
