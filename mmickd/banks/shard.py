"""One rank's part of a memory bank that is sharded over the ranks."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank


class BankShard:
    """Every ``W``-th row of a bank, beginning at the number of this rank.

    Row ``r`` of the bank is row ``r // W`` of rank ``r % W``. So each class is spread evenly over
    the ranks, and the rows of a rank are sorted by class, as in the bank.

    Args:
        part: Rows of this rank.
        rank: Number of this rank.
        world_size: Number ``W`` of the ranks that share the bank.
        num_rows: Rows ``M`` of the whole bank.
        max_class_size: Rows of the largest class of the whole bank.

    Attributes:
        is_queue (bool): False: training does not change the rows.
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
        self.num_classes, self.nbytes = part.num_classes, part.nbytes

    def __len__(self) -> int:
        """Return the number of rows of the whole bank."""
        return self.num_rows

    def __repr__(self) -> str:
        return f"rank {self.rank}'s 1/{self.world_size} of {self.num_rows} rows: {self.part}"

    def rows_in_bank(self, rows: Tensor) -> Tensor:
        """Convert rows of this rank to rows of the whole bank."""
        return rows * self.world_size + self.rank
