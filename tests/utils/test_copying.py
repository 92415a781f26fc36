"""Copies that keep the state of the originals."""

from __future__ import annotations

import random
import threading
from typing import Any

import torch

from mmickd.utils.copying import copy_with_state


class Stateful:
    """Object with attributes that can be copied and attributes that cannot."""

    def __init__(self, bank: Any) -> None:
        self.bank, self.lock, self.module = bank, threading.Lock(), random
        self.generator = torch.Generator().manual_seed(3)
        self.drawn: list[int] = []
        self.same = self.drawn
        self.broken = [[], self.lock]

    def draw(self) -> None:
        self.drawn.append(int(torch.randint(10**9, (), generator=self.generator)))


def test_state_is_copied_and_other_attributes_are_shared() -> None:
    bank = object()
    first = Stateful(bank)
    first.draw()
    second = copy_with_state(first, shared=[bank])
    assert second.lock is first.lock and second.module is random and second.bank is bank
    assert second.broken is first.broken
    second.draw()
    assert len(first.drawn) == 1 and second.same is second.drawn
    first.draw()
    assert first.drawn == second.drawn


def test_shared_objects_inside_a_dict_are_not_copied() -> None:
    bank = torch.zeros(3)
    copied = copy_with_state({"bank": bank, "counts": torch.zeros(2)}, shared=[bank])
    assert copied["bank"] is bank
    copied["counts"] += 1
