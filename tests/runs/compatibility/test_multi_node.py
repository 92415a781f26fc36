"""Ranks on several nodes, by Slurm and by MPI, all of them on the CPU of this machine."""

from __future__ import annotations

import os
import socket
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from tests.helpers import toys
from tests.helpers.commands import ROOT, CommandResult, command
from tests.helpers.rank_dump import read_rank_dumps, with_rank_dump
from tests.runs.compatibility.ranks import two_rank_config

pytestmark = pytest.mark.timeout(600)

SRUN = """#!/usr/bin/env bash
# srun -p PARTITION --options PYTHON ...: starts the tasks on this machine
shift 2
while [[ $1 == -* ]]; do
    case $1 in --ntasks=*) export SLURM_NTASKS=${1#*=} ;; esac
    shift
done
export SLURM_NODELIST=nodes-of-a-test
tasks=()
for task in $(seq 0 $((SLURM_NTASKS - 1))); do
    SLURM_PROCID=$task SLURM_LOCALID=$task "$@" &
    tasks+=($!)
done
code=0
for task in "${tasks[@]}"; do wait "$task" || code=$?; done
exit $code
"""
SCONTROL = """#!/usr/bin/env bash
[[ "$*" == "show hostname nodes-of-a-test" ]] && echo 127.0.0.1 && echo other
"""


def free_port() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return str(sock.getsockname()[1])


def side_by_side(*calls: Any) -> list[CommandResult]:
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
        return [future.result() for future in futures]


def assert_ranks_agree(cfg: Config) -> None:
    dumps = read_rank_dumps(cfg)
    for dump in dumps:
        assert dump["world_size"] == 2
        assert all(v > 0 for v in dump["losses"]["loss_kd"])
        for part in ("banks", "parameters"):
            assert toys.same_state(dump[part], dumps[0][part])
    assert dumps[0]["banks"]


def test_two_nodes_with_separate_caches() -> None:
    cfg = two_rank_config("mmseg")
    path, port = with_rank_dump(cfg), free_port()
    caches = [toys.new_folder(), toys.new_folder() / "file" / "below"]
    caches[1].parent.write_text("a file, so that no folder can be created below it")

    def node(rank: int) -> CommandResult:
        return command(
            "bash", ROOT / "tools/dist_train.sh", path, "1", cwd=path.parent, timeout=280,
            PYTHONPATH=str(ROOT), NNODES="2", NODE_RANK=str(rank), MASTER_ADDR="127.0.0.1",
            PORT=port, MMICKD_CACHE_DIR=str(caches[rank]),
        )  # fmt: skip

    for result in side_by_side(lambda: node(0), lambda: node(1)):
        result.ok()
    assert_ranks_agree(cfg)
    assert set(toys.cached_banks(caches[0])) == {"pixel", "region"}


def test_slurm_with_the_flexible_runner(tmp_path: Path) -> None:
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(stat.S_IRWXU)
    cfg = two_rank_config("mmpretrain")
    cfg.runner_type = "FlexibleRunner"
    path = with_rank_dump(cfg)
    command(
        "env", f"PATH={tmp_path}{os.pathsep}{os.environ['PATH']}",
        "bash", ROOT / "tools/slurm_train.sh", "partition", "name", path, cwd=path.parent,
        timeout=280, PYTHONPATH=str(ROOT), GPUS="2", GPUS_PER_NODE="0", MASTER_PORT=free_port(),
        MMICKD_CACHE_DIR=str(tmp_path / "cache"),
    ).ok()  # fmt: skip
    assert_ranks_agree(cfg)


def test_mpi(tmp_path: Path) -> None:
    cfg = two_rank_config("mmpretrain")
    path, port = with_rank_dump(cfg), free_port()

    def task(rank: str) -> CommandResult:
        return command(
            sys.executable, ROOT / "tools/train.py", path, "--launcher", "mpi", cwd=path.parent,
            timeout=280, PYTHONPATH=str(ROOT), MASTER_PORT=port, OMPI_COMM_WORLD_RANK=rank,
            OMPI_COMM_WORLD_SIZE="2", OMPI_COMM_WORLD_LOCAL_RANK=rank,
            MMICKD_CACHE_DIR=str(tmp_path / "cache"),
        )  # fmt: skip

    for result in side_by_side(lambda: task("0"), lambda: task("1")):
        result.ok()
    assert_ranks_agree(cfg)
