"""Export of a bank as columns, to files that other programs read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmickd.banks.memory_bank import MemoryBank
from mmickd.utils.errors import ICKDError

ROWS_PER_GROUP = 2**14
"""Rows of a parquet row group, which readers load into memory at once."""


def columns_of(bank: MemoryBank, names: dict[int, str]) -> dict[str, Any]:
    """Return the rows of a bank as arrays of equal length.

    Args:
        bank: Bank of ``M`` rows.
        names: Paths of the images by id.

    Returns:
        ``images`` (M,) str, empty if unknown; ``ids`` and ``labels`` (M,) int64; ``features``
        (M, D) and ``logits`` (M, C) in the dtype of the bank.

    Example:
        >>> import torch
        >>> from mmickd.structures import Samples
        >>> ids = torch.tensor([5, 6])
        >>> bank = MemoryBank(Samples(torch.eye(2), torch.eye(2), torch.tensor([0, 1]), ids), 2)
        >>> columns_of(bank, {5: "cat.png"})["images"].tolist()
        ['cat.png', '']
    """
    return {
        "images": np.array([names.get(number, "") for number in bank.ids.tolist()], dtype=np.str_),
        "ids": bank.ids.numpy(),
        "labels": bank.labels.numpy(),
        "features": bank.features.numpy(),
        "logits": bank.logits.numpy(),
    }


def columns_writer(suffix: str) -> Callable[[Path, dict[str, Any]], None] | None:
    """Return the function that writes columns to a file; None for an unknown suffix.

    Args:
        suffix: '.npz' or '.parquet'.

    Raises:
        ICKDError: If the package for this file format is missing.
    """
    if suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ICKDError(
                "a .parquet file needs pyarrow, which is not installed: pip install "
                "'mmickd[export]', or name a .npz file."
            ) from error
        return _write_parquet
    return _write_npz if suffix == ".npz" else None


def _write_npz(path: Path, columns: dict[str, Any]) -> None:
    with path.open("wb") as file:  # numpy may append '.npz' to a path
        np.savez(file, **columns)


def _write_parquet(path: Path, columns: dict[str, Any]) -> None:
    import pyarrow
    from pyarrow import parquet

    arrays = {}
    for name, values in columns.items():
        if values.ndim == 2:
            flat = pyarrow.array(values.reshape(-1))
            arrays[name] = pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
        elif name == "images":
            # parquet cannot hold the bytes of a path that is not UTF-8
            paths = [p.encode("utf-8", "backslashreplace").decode() for p in values.tolist()]
            arrays[name] = pyarrow.array(paths).dictionary_encode()
        else:
            arrays[name] = pyarrow.array(values)
    parquet.write_table(pyarrow.table(arrays), path, row_group_size=ROWS_PER_GROUP)
