"""One rank's part of a memory bank that is dealt to all ranks."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank


class BankShard:
    """Every ``W``-th row of a bank, beginning at this rank's number.

    Row ``r`` of the bank is row ``r // W`` of rank ``r % W``. Dealt so, each class is spread evenly
    over the ranks, and a rank's rows are sorted by class as the bank's are.

    Args:
        part: this rank's rows.
        rank: of this process.
        world_size: ranks ``W`` that share the bank.
        num_rows: rows ``M`` of the whole bank.
        max_class_size: rows of its largest class.

    Attributes:
        is_queue (bool): False: training does not change it.
        is_sharded (bool): True: the other rows are on the other ranks.
    """

    is_queue: Literal[False] = False
    is_sharded: Literal[True] = True

    def __init__(
        self, part: MemoryBank, rank: int, world_size: int, num_rows: int, max_class_size: int
    ) -> None:
        self.part = part
        self.rank, self.world_size = rank, world_size
        self.num_rows, self.max_class_size = num_rows, max_class_size

    def __len__(self) -> int:
        """Rows of the whole bank."""
        return self.num_rows

    def __repr__(self) -> str:
        return f"rank {self.rank}'s 1/{self.world_size} of {self.num_rows} rows: {self.part}"

    @property
    def num_classes(self) -> int:
        """``C``."""
        return self.part.num_classes

    @property
    def nbytes(self) -> int:
        """Bytes of this rank's rows."""
        return self.part.nbytes

    def rows_in_bank(self, own: Tensor) -> Tensor:
        """Numbers in the whole bank of this rank's rows."""
        return own * self.world_size + self.rank

    def to(self, device: torch.device | str) -> BankShard:
        """The same shard on ``device``."""
        part = self.part.to(device)
        return BankShard(part, self.rank, self.world_size, self.num_rows, self.max_class_size)
