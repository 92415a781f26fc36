"""How much memory a run holds, step by step."""

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
from tests.helpers.tiny import build, plain_config_text

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

    What is resident grows by a MiB now and then as the heap gets fragmented, and then stays; what
    is in use there does not, so that it shows a leak of some bytes per step.
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
        for thing in gc.get_objects():
            # sparse ones, and the fake ones of torch.compile, which other tests leave: no storage
            kind = type(thing)
            real = issubclass(kind, torch.Tensor) and not issubclass(kind, FakeTensor)
            if real and thing.layout is torch.strided:
                storage = thing.untyped_storage()
                sizes[storage.data_ptr()] = storage.nbytes()
        self.steps.append(step)
        self.heap.append(heap_kib())
        self.resident.append(resident_kib())
        self.tensors.append(len(sizes))
        self.tensor_kib.append(sum(sizes.values()) / 1024)

    def slope(self, name: str) -> float:
        """Least-squares growth of one of the lists, per 1,000 steps."""
        return float(np.polyfit(np.array(self.steps) / 1000, getattr(self, name), 1)[0])

    @property
    def leak(self) -> float:
        """Growth of the heap that is not by design, in KiB per 1,000 steps.

        By design mmengine keeps the history of each logged scalar: 16 bytes per step.
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
    """What is allocated now by malloc, of all threads; 0 where the C library does not tell."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallinfo2.restype = _MallInfo2
    except (OSError, AttributeError):
        return 0.0
    libc.malloc_trim(0)  # so that what is resident is what is in use, but for the holes
    info = libc.mallinfo2()
    return (info.uordblks + info.hblkhd) / 1024


def resident_kib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


class MemoryHook(Hook):
    """Takes samples at equal distances, after a warm-up."""

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
    """A run of some milliseconds per step, taught as one of :data:`TEACHERS` says, or not."""
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
    """Train, and watch."""
    runner = build(cfg)
    interval = (cfg.train_cfg.max_iters - warmup) // samples
    watch = MemoryHook(warmup, interval)
    runner.register_hook(watch)
    with plain_config_text():
        runner.train()
    return watch.memory
