"""Transfer of batches from worker processes with all tensors in one.

Each tensor that is sent takes a file descriptor, and a process may have only 1,024 of them.
"""

from __future__ import annotations

import io
import math
import pickle
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ALIGNMENT = 16
"""Alignment of tensors in bytes, enough for every dtype."""


@dataclass(frozen=True)
class _Place:
    """Position of a tensor in the bytes of a parcel."""

    begin: int
    shape: torch.Size
    dtype: torch.dtype


@dataclass(frozen=True)
class Parcel:
    """Pickled value whose tensors are stored in a single one.

    Args:
        content: The pickled value without its tensors.
        tensors: ``(N,)`` uint8; the bytes of all tensors.

    Example:
        >>> parcel = Parcel.of([dict(inputs=torch.ones(2, 3)), "a.png"])
        >>> parcel.tensors.shape, parcel.open()[0]["inputs"].shape, parcel.open()[1]
        (torch.Size([32]), torch.Size([2, 3]), 'a.png')
    """

    content: bytes
    tensors: Tensor

    @classmethod
    def of(cls, value: Any) -> Parcel:
        """Return the parcel of a value that can be pickled."""
        file = io.BytesIO()
        pickler = _Pickler(file, protocol=pickle.HIGHEST_PROTOCOL)
        pickler.dump(value)
        tensors = torch.empty(pickler.size, dtype=torch.uint8)
        for tensor, begin in pickler.tensors:
            _part(tensors, _Place(begin, tensor.shape, tensor.dtype)).copy_(tensor)
        return cls(file.getvalue(), tensors)

    def open(self) -> Any:
        """Return the value; its tensors share the parcel's memory."""
        return _Unpickler(io.BytesIO(self.content), self.tensors).load()


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.tensors: list[tuple[Tensor, int]] = []
        self.size = 0

    def persistent_id(self, obj: Any) -> _Place | None:
        is_plain = type(obj) is Tensor and obj.layout == torch.strided and not obj.requires_grad
        if not is_plain or obj.device.type != "cpu" or obj.is_quantized:
            return None
        place = _Place(self.size, obj.shape, obj.dtype)
        self.tensors.append((obj, self.size))
        self.size += math.ceil(obj.numel() * obj.element_size() / ALIGNMENT) * ALIGNMENT
        return place


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, tensors: Tensor) -> None:
        super().__init__(file)
        self._tensors = tensors

    def persistent_load(self, pid: _Place) -> Tensor:
        return _part(self._tensors, pid)


def _part(tensors: Tensor, place: _Place) -> Tensor:
    size = place.shape.numel() * torch.empty(0, dtype=place.dtype).element_size()
    return tensors[place.begin : place.begin + size].view(place.dtype).view(place.shape)
