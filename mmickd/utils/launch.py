"""Makes distributed runs work on machines without an accelerator."""

from __future__ import annotations

import os
import subprocess
from collections.abc import MutableMapping
from typing import Any

import torch.distributed as torch_dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log

from mmickd.utils.errors import ICKDError


def on_cpu() -> bool:
    """Whether runs go to the CPU, for want of anything faster."""
    return get_device() == "cpu"


def prepare_launch(cfg: Config) -> None:
    """Adapt ``cfg`` to a machine without an accelerator, in place; elsewhere do nothing.

    mmengine's own initialisation calls ``torch.cuda.set_device`` and hands the local rank to
    ``DistributedDataParallel`` as a device, which both fail there. So the process group is made
    here, with gloo, before the runner looks for one.

    Args:
        cfg: the whole config, with ``launcher`` set.

    Raises:
        ICKDError: if the launcher did not say who is who.
    """
    launcher = cfg.get("launcher", "none")
    if launcher == "none" or not on_cpu():
        return
    _set_rank_variables(launcher)
    if not torch_dist.is_initialized():
        torch_dist.init_process_group("gloo")
    use_cpu_wrapper(cfg)
    asked = cfg.pop("sync_bn", None) is not None
    if revert_sync_bn(cfg.get("model")) or asked:
        print_log(
            "DistributedDataParallel refuses SyncBN on the CPU: BN is used in its place, with the "
            "statistics of each process by itself.",
            logger="current",
        )


def check_amp(cfg: Config) -> None:
    """Stop if mixed precision is asked for where mmengine refuses it.

    Args:
        cfg: the whole config.

    Raises:
        ICKDError: if there is no accelerator.
    """
    kind = str((cfg.get("optim_wrapper") or {}).get("type", ""))
    if kind.rpartition(".")[2] == "AmpOptimWrapper" and on_cpu():
        raise ICKDError(
            "Mixed precision (--amp, or optim_wrapper.type='AmpOptimWrapper') needs a GPU and none "
            "is visible. Leave --amp out, or set optim_wrapper.type=OptimWrapper."
        )


def use_cpu_wrapper(cfg: Config) -> None:
    """Set a model wrapper without devices, in place; what the config says of it is kept.

    Args:
        cfg: the whole config.
    """
    default = dict(
        type="MMDistributedDataParallel",
        broadcast_buffers=False,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )
    if "runner_type" in cfg and "strategy" in cfg:  # FlexibleRunner
        default.update(cfg.strategy.get("model_wrapper") or {})
        cfg.strategy.model_wrapper = dict(default, device_ids=None)
    else:
        default.update(cfg.get("model_wrapper_cfg") or {})
        cfg.model_wrapper_cfg = dict(default, device_ids=None)


def revert_sync_bn(node: Any) -> bool:
    """Turn every ``SyncBN`` of a model config into ``BN``, in place.

    Args:
        node: a config, or a part of one.

    Returns:
        Whether there was one.
    """
    found = False
    if isinstance(node, MutableMapping):
        if node.get("type") in ("SyncBN", "MMSyncBN"):
            node["type"] = "BN"
            found = True
        children = list(node.values())
    else:
        children = list(node) if isinstance(node, (list, tuple)) else []
    for child in children:
        found = revert_sync_bn(child) or found
    return found


def _set_rank_variables(launcher: str) -> None:
    """Name ranks as torch does, where the launcher has names of its own.

    Args:
        launcher: ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
    """
    env = os.environ
    if launcher == "slurm":
        env.setdefault("MASTER_PORT", "29500")
        if "MASTER_ADDR" not in env:
            names = subprocess.check_output(
                ["scontrol", "show", "hostname", env["SLURM_NODELIST"]], text=True
            )
            env["MASTER_ADDR"] = names.split()[0]
        env["RANK"], env["WORLD_SIZE"] = env["SLURM_PROCID"], env["SLURM_NTASKS"]
        env["LOCAL_RANK"] = env.get("SLURM_LOCALID", "0")
    elif launcher == "mpi":
        env.setdefault("MASTER_PORT", "29500")
        env.setdefault("MASTER_ADDR", "127.0.0.1")
        env["RANK"] = env["OMPI_COMM_WORLD_RANK"]
        env["WORLD_SIZE"] = env["OMPI_COMM_WORLD_SIZE"]
        env["LOCAL_RANK"] = env["OMPI_COMM_WORLD_LOCAL_RANK"]
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR") if name not in env]
    if missing:
        raise ICKDError(
            f"--launcher {launcher} needs {', '.join(missing)} in the environment: start the run "
            "with tools/dist_train.sh or tools/slurm_train.sh."
        )
