"""Memory holds a bank at most once while it is built, cached, read and sent to other ranks."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mmickd.banks import BankOptions, MemoryBank
from mmickd.building.build import build_banks
from mmickd.sampling import keyed_hash
from mmickd.storage.cache import BankCache
from mmickd.storage.get_or_build import get_or_build_banks
from mmickd.structures import Samples
from mmickd.utils import distributed
from mmickd.utils.distributed import long_timeout_group
from tests.helpers.ranks import on_ranks

BOUND = 1.3
"""Peak status_bytes of a process, as a multiple of the bank's bytes."""
CLASSES, WIDTH = 32, 1024
IMAGES, ROWS_PER_IMAGE = 240, 1000
M_MMAP_THRESHOLD = -3
MESSAGE_BYTES = 2**22
"""Bytes of a message, as small relative to this bank as 64 MiB are relative to a large bank."""

pytestmark = pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="reads the peak of Linux"
)


class Level:
    """A level with 1,000 random rows for each image."""

    capacity = None

    def bank_rows(
        self, view: Any, pixels_per_image: int, seed: int
    ) -> tuple[Samples, torch.Tensor]:
        g = torch.Generator().manual_seed(view.number)
        rows = torch.arange(ROWS_PER_IMAGE)
        ids = torch.full_like(rows, view.number)
        samples = Samples(
            torch.rand(len(rows), WIDTH, generator=g),
            torch.rand(len(rows), CLASSES, generator=g),
            torch.randint(0, CLASSES, (len(rows),), generator=g),
            ids,
        )
        return samples, keyed_hash(seed, ids, rows)


class Images:
    """A data set whose samples hold only their number."""

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = SimpleNamespace(number=index, metainfo={})
        return {"inputs": torch.zeros(3, 1, 1), "data_samples": number}

    def name(self, index: int) -> str:
        return str(index)


def teacher() -> Any:
    task = SimpleNamespace(
        levels={"image": Level()},
        bad_labels=lambda sample, num_classes: [],
    )
    return SimpleNamespace(
        task=task,
        tap=SimpleNamespace(num_classes=CLASSES),
        view_of_bank_images=lambda samples: samples[0]["data_samples"],
    )


def build(capacity: int | None) -> Callable[[list[str]], dict[str, MemoryBank | None]]:
    options = BankOptions(capacity_per_class=capacity)
    return lambda levels: build_banks(levels, options, Images(), teacher(), 1, 0)  # type: ignore


def status_bytes(name: str) -> int:
    """Return the bytes of a line in the status of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


def peak_of(action: Callable[[], Any]) -> tuple[Any, int]:
    """Return the result of ``action`` and the peak of the bytes that it allocated."""
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, 2**20)  # frees blocks immediately, like blocks of 64 MiB
    libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    before = status_bytes("VmRSS")
    return action(), status_bytes("VmHWM") - before


def measure_peaks(folder: str, capacity: int | None) -> dict[str, float]:
    """Return the status_bytes peaks of this rank by phase, as multiples of the bank."""
    distributed.CHUNK_BYTES = MESSAGE_BYTES
    cache_keys = {"image": {"level": "image", "capacity_per_class": str(capacity)}}

    def obtain(shard: bool) -> Any:
        with long_timeout_group():
            return get_or_build_banks(cache_keys, BankCache(folder), build(capacity), shard)[
                "image"
            ]

    peaks = {}
    for phase in ("built", "read", "sharded"):
        bank, peak = peak_of(lambda shard=phase == "sharded": obtain(shard))  # type: ignore
        nbytes = len(bank) * (WIDTH * 2 + CLASSES * 2 + 16)
        assert nbytes > 2e8, "the bank is too small to measure"
        peaks[phase] = peak / nbytes
        del bank
    return peaks


@pytest.mark.parametrize(("world_size", "capacity"), [(1, None), (2, 6000)])
def test_no_process_holds_a_bank_twice(
    tmp_path: Path, world_size: int, capacity: int | None
) -> None:
    first, *rest = on_ranks(world_size, measure_peaks, str(tmp_path), capacity)
    for rank in (first, *rest):
        assert max(rank["built"], rank["read"]) < BOUND, rank
    # rank 0 cuts its shard out of the whole bank; the other ranks receive only their shard
    assert first["sharded"] < BOUND + (1 / 2 if rest else 0), first
    assert all(rank["sharded"] < BOUND / 2 for rank in rest), rest
