"""Places in a run where it waits to be killed. The runs import this by their ``custom_imports``.

A kill at random rarely hits a file that is written in milliseconds. So the functions that write
files are replaced: they write half of the bytes, reach a place, and write the other half. The
environment names the place at which a process waits (:mod:`tests.runs.faults.processes`).
"""

from __future__ import annotations

import builtins
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import mmengine.hooks.checkpoint_hook
import safetensors
import safetensors.torch
import yapf.yapflib.yapf_api
from mmengine.fileio.backends import LocalBackend
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TRANSFORMS

from mmickd.banks.queue_bank import QueueBank
from mmickd.teachers.peer import Peer

WAIT_SECONDS = 240.0
"""Seconds after which a place stops waiting: the campaign has ended."""

_times: Counter[str] = Counter()
_replace, _open = os.replace, builtins.open
_learn_original, _push_original = Peer.learn, QueueBank.push


def reach(place: str) -> None:
    """Wait to be killed if the environment names this place and the number of this call."""
    _times[place] += 1
    env = os.environ
    here = f"{place}:{_times[place]}:{env.get('RANK', '0')}"
    if here != env.get("FAULTS_PLACE"):
        # a run that is killed at random is slowed down everywhere, so that a kill hits any part
        time.sleep(float(env.get("FAULTS_PAUSE", "0")))
        return
    with _open(env["FAULTS_REACHED"], "w") as file:
        file.write(here)
    parent, deadline = os.getppid(), time.monotonic() + WAIT_SECONDS
    while os.getppid() == parent and time.monotonic() < deadline:
        time.sleep(0.02)
    os._exit(99)


@TRANSFORMS.register_module()
class ReachBuilding:
    """Transform of the validation pipeline, which also builds the bank."""

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        reach("building")
        return results


@HOOKS.register_module()
class ReachSteps(Hook):
    """Places before a step of training and of validation."""

    def before_train_iter(self, *args: Any, **kwargs: Any) -> None:
        reach("training")

    def before_val_iter(self, *args: Any, **kwargs: Any) -> None:
        reach("validation")


def _write_in_halves(data: bytes, path: str | os.PathLike[str], place: str) -> None:
    with _open(path, "wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        reach(place)
        file.write(data[len(data) // 2 :])


def _put(self: LocalBackend, obj: bytes, filepath: str | Path) -> None:
    """Write a checkpoint as mmengine does: into the final file."""
    _write_in_halves(obj, filepath, "checkpoint")
    reach("checkpoint written")


def _serialize_file(tensors: Any, filename: Any, metadata: Any = None) -> None:
    _write_in_halves(safetensors.serialize(tensors, metadata), filename, "bank file")


def _replace_reaching(source: Any, target: Any, **kwargs: Any) -> None:
    name = Path(target).name
    if name == "manifest.json":
        reach("before manifest")
    _replace(source, target, **kwargs)
    if name == "bank.safetensors":
        reach("before manifest's file")
    if name == "manifest.json":
        reach("after manifest")


def _open_record(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
    """Open a file for the checkpoint hook, which empties ``last_checkpoint`` before it writes."""
    file = _open(path, mode, *args, **kwargs)
    if Path(path).name == "last_checkpoint" and "w" in mode:
        reach("last_checkpoint")
    return file


def _learn(self: Peer, losses: dict[str, Any]) -> dict[str, Any]:
    """Reach a place after all forward passes, before the steps of student and further peers."""
    reach("peer learns")
    return _learn_original(self, losses)


def _push(self: QueueBank, samples: Any) -> None:
    """Reach a place after the steps of all networks, before this queue is filled."""
    reach("queue is fed")
    _push_original(self, samples)


LocalBackend.put = _put
Peer.learn, QueueBank.push = _learn, _push
safetensors.torch.serialize_file = _serialize_file
os.replace = _replace_reaching
mmengine.hooks.checkpoint_hook.open = _open_record
# yapf's layout of configs takes longer than all the rest of a tiny run
yapf.yapflib.yapf_api.FormatCode = lambda text, **_: (text, True)
