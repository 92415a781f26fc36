"""Adaptation of distributed runs to machines without an accelerator."""

from __future__ import annotations

import os
import subprocess
from collections.abc import MutableMapping
from datetime import timedelta
from typing import Any

import torch.distributed as torch_dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log

from mmickd.utils.config import type_name
from mmickd.utils.errors import ICKDError


def on_cpu() -> bool:
    """True if runs use the CPU, since there is no accelerator."""
    return get_device() == "cpu"


def prepare_launch(cfg: Config) -> None:
    """Adapt ``cfg`` in place to a machine without an accelerator; do nothing on other machines.

    mmengine's initialisation calls ``torch.cuda.set_device`` and passes the local rank to
    ``DistributedDataParallel`` as a device; both fail without an accelerator. So this function
    creates the process group, with gloo, before the runner needs it.

    Args:
        cfg: The whole config, with ``launcher`` set.

    Raises:
        ICKDError: If the launcher did not set the rank and the world size.
    """
    launcher = cfg.get("launcher", "none")
    if launcher == "none" or not on_cpu():
        return
    _set_rank_variables(launcher)
    if not torch_dist.is_initialized():
        seconds = ((cfg.get("env_cfg") or {}).get("dist_cfg") or {}).get("timeout")
        timeout = None if seconds is None else timedelta(seconds=seconds)
        torch_dist.init_process_group("gloo", timeout=timeout)
    use_cpu_wrapper(cfg)
    converts = [part.pop("sync_bn", None) for part in (cfg, cfg.get("strategy") or {})]
    if revert_sync_bn(cfg.get("model")) or any(converts):
        print_log(
            "DistributedDataParallel refuses SyncBN on the CPU: BN is used instead, with separate "
            "statistics in each process.",
            logger="current",
        )


def check_amp(cfg: Config) -> None:
    """Check that mixed precision is used only with an accelerator, as mmengine requires.

    Args:
        cfg: The whole config.

    Raises:
        ICKDError: If the config uses mixed precision and there is no accelerator.
    """
    wrapper = cfg.get("optim_wrapper") or {}
    if type_name(wrapper.get("type")) == "AmpOptimWrapper" and on_cpu():
        raise ICKDError(
            "Mixed precision (--amp, or optim_wrapper.type='AmpOptimWrapper') needs a GPU and none "
            "is visible. Remove --amp, or set optim_wrapper.type=OptimWrapper."
        )


def use_cpu_wrapper(cfg: Config) -> None:
    """Set a model wrapper without devices, in place; its other settings in the config are kept.

    Args:
        cfg: The whole config.

    Raises:
        ICKDError: If the strategy of a FlexibleRunner needs an accelerator.
    """
    ddp = dict(
        type="MMDistributedDataParallel",
        broadcast_buffers=False,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )
    if type_name(cfg.get("runner_type", "Runner")) != "FlexibleRunner":
        cfg.model_wrapper_cfg = {**ddp, **(cfg.get("model_wrapper_cfg") or {}), "device_ids": None}
        return
    if cfg.get("strategy") is None:
        cfg.strategy = dict(type="DDPStrategy")
    kind = type_name(cfg.strategy.type)
    wrapper = cfg.strategy.get("model_wrapper") or {}
    if kind == "DDPStrategy":
        cfg.strategy.model_wrapper = {**ddp, **wrapper, "device_ids": None}
    elif kind == "FSDPStrategy":
        fsdp = {"type": "MMFullyShardedDataParallel"}
        cfg.strategy.model_wrapper = {**fsdp, **wrapper, "device_id": "cpu"}
    else:
        raise ICKDError(
            f"strategy.type='{kind}' cannot train with several processes on the CPU: use "
            "DDPStrategy or FSDPStrategy."
        )


def revert_sync_bn(node: Any) -> bool:
    """Replace every ``SyncBN`` in a model's config by ``BN``, in place.

    Args:
        node: Config of a model, or a part of it.

    Returns:
        True if the config had a ``SyncBN``.
    """
    has_sync_bn = False
    if isinstance(node, MutableMapping):
        if type_name(node.get("type")) in ("SyncBN", "SyncBatchNorm", "MMSyncBN"):
            node["type"] = "BN"
            has_sync_bn = True
        children = list(node.values())
    else:
        children = list(node) if isinstance(node, (list, tuple)) else []
    for child in children:
        has_sync_bn = revert_sync_bn(child) or has_sync_bn
    return has_sync_bn


def _set_rank_variables(launcher: str) -> None:
    """Set torch's environment variables of the rank from the launcher's variables.

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
            "with mmickd dist-train (tools/dist_train.sh) or tools/slurm_train.sh."
        )
