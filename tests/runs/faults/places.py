"""Places in a run where it waits to be killed. The runs import this by their ``custom_imports``.

A file that is written in milliseconds is rarely hit by a kill at random. So what writes files is
taken apart here: half of the bytes, a place to wait, the other half. Which of the places a process
waits at is told by its environment (see :mod:`tests.runs.faults.processes`); at the others it
goes on.
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
"""When a place gives up waiting: the campaign is gone."""

_times: Counter[str] = Counter()
_replace, _open = os.replace, builtins.open
_learn_undisturbed, _push_undisturbed = Peer.learn, QueueBank.push


def reach(place: str) -> None:
    """Wait here to be killed, if this is the place and the time of it that was asked for."""
    _times[place] += 1
    env = os.environ
    here = f"{place}:{_times[place]}:{env.get('RANK', '0')}"
    if here != env.get("FAULTS_PLACE"):
        # a run that is killed at random is slow everywhere, so that all of it can be hit
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
    """In the validation pipeline, by which the bank is built too."""

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
    """As mmengine writes a checkpoint: straight into the file that stays."""
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
    """``open`` of the checkpoint hook, which empties ``last_checkpoint`` before it writes it."""
    file = _open(path, mode, *args, **kwargs)
    if Path(path).name == "last_checkpoint" and "w" in mode:
        reach("last_checkpoint")
    return file


def _learn(self: Peer, losses: dict[str, Any]) -> dict[str, Any]:
    """Student and peers have run forward, some peers have learnt, the student has not."""
    reach("peer learns")
    return _learn_undisturbed(self, losses)


def _push(self: QueueBank, samples: Any) -> None:
    """All networks have learnt, some of the queues have been fed."""
    reach("queue is fed")
    _push_undisturbed(self, samples)


LocalBackend.put = _put
Peer.learn, QueueBank.push = _learn, _push
safetensors.torch.serialize_file = _serialize_file
os.replace = _replace_reaching
mmengine.hooks.checkpoint_hook.open = _open_record
# the layout of configs takes longer than all the rest of a tiny run
yapf.yapflib.yapf_api.FormatCode = lambda text, **_: (text, True)
