"""Memory of a run, step by step."""

from __future__ import annotations

import ctypes
import gc
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch._subclasses.fake_tensor import FakeTensor

from tests.helpers import toys
from tests.helpers.tiny import run

LEVELS = {"image": "mmpretrain", "pixel": "mmseg"}
TEACHERS = ("frozen", "peers", "average")


class _MallInfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


@dataclass
class Memory:
    """Samples of a run: steps, resident KiB, KiB in use on the heap, live tensors and their KiB.

    ``histories`` is the number of scalars that the run logs in each step.

    Resident memory grows by a MiB now and then since the heap gets fragmented. The memory in use on
    the heap does not, so that it shows a leak of some bytes per step.
    """

    steps: list[int] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)
    heap: list[float] = field(default_factory=list)
    tensors: list[int] = field(default_factory=list)
    tensor_kib: list[float] = field(default_factory=list)
    histories: int = 0

    def take(self, step: int) -> None:
        """Add a sample."""
        gc.collect()
        sizes = {}
        for tensor in gc.get_objects():
            # sparse tensors, and the fake ones of torch.compile in other tests, have no storage
            kind = type(tensor)
            is_real = issubclass(kind, torch.Tensor) and not issubclass(kind, FakeTensor)
            if is_real and tensor.layout is torch.strided:
                storage = tensor.untyped_storage()
                sizes[storage.data_ptr()] = storage.nbytes()
        self.steps.append(step)
        self.heap.append(heap_kib())
        self.resident.append(resident_kib())
        self.tensors.append(len(sizes))
        self.tensor_kib.append(sum(sizes.values()) / 1024)

    def slope(self, name: str) -> float:
        """Return the least-squares growth of one of the lists, per 1,000 steps."""
        return float(np.polyfit(np.array(self.steps) / 1000, getattr(self, name), 1)[0])

    @property
    def leak(self) -> float:
        """Growth of the heap in KiB per 1,000 steps, without the histories of the scalars.

        mmengine keeps the history of each logged scalar: 16 bytes per step.
        """
        return self.slope("heap") - self.histories * 16 * 1000 / 1024

    def __str__(self) -> str:
        return (
            f"steps {self.steps[0]} to {self.steps[-1]}, per 1,000 of them: resident "
            f"{self.slope('resident'):+.0f} KiB of {self.resident[0]:.0f}, heap in use "
            f"{self.slope('heap'):+.0f} KiB of {self.heap[0]:.0f} ({self.leak:+.0f} KiB beside the "
            f"{self.histories} histories), tensors "
            f"{self.slope('tensors'):+.1f} of {self.tensors[0]}, in them "
            f"{self.slope('tensor_kib'):+.1f} KiB of {self.tensor_kib[0]:.0f}"
        )


def heap_kib() -> float:
    """Return the KiB that malloc has allocated in all threads; 0 without glibc's ``mallinfo2``."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallinfo2.restype = _MallInfo2
    except (OSError, AttributeError):
        return 0.0
    libc.malloc_trim(0)  # returns unused memory to the system
    info = libc.mallinfo2()
    return (info.uordblks + info.hblkhd) / 1024


def resident_kib() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


class MemoryHook(Hook):
    """Takes samples at equal intervals, after a warm-up."""

    priority = "LOWEST"

    def __init__(self, warmup: int, interval: int) -> None:
        self.warmup, self.interval = warmup, interval
        self.memory = Memory()

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        step = runner.iter + 1
        if step >= self.warmup and (step - self.warmup) % self.interval == 0:
            self.memory.take(step)
            names = runner.message_hub.log_scalars
            self.memory.histories = sum(name.startswith("train/") for name in names)


def config(level: str, steps: int, teacher: str | None = "frozen") -> Config:
    """Return a run of some milliseconds per step with one of :data:`TEACHERS`, or without one."""
    toy = toys.toy(LEVELS[level])
    cfg = toy.student(train_cfg__max_iters=steps)
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    cfg.train_dataloader.batch_size = 2
    cfg.default_hooks.logger.interval = 100
    cfg.default_hooks.checkpoint.interval = 10**6
    if teacher is None:
        return cfg
    cfg = toy.distilled(cfg, level=level, anchors=32)
    if teacher == "peers":
        wider = toy.teacher_cfg.to_dict()
        cfg.custom_hooks[0].teacher = dict(type="OnlineTeacher", cfg=[wider, None])
    elif teacher == "average":
        cfg.custom_hooks[0].teacher = dict(type="SelfTeacher")
    return cfg


def memory_of(cfg: Config, warmup: int, samples: int) -> Memory:
    """Train and return samples of the memory."""
    hook = MemoryHook(warmup, (cfg.train_cfg.max_iters - warmup) // samples)
    run(cfg, hook)
    return hook.memory
