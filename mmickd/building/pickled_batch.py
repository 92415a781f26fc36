"""Transfer of batches from worker processes, with the bytes of all tensors in one tensor.

Each tensor that a worker sends takes a file descriptor, and a process may have only 1,024 of them.
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
class _Position:
    """Position of a tensor in the bytes of a pickled batch."""

    begin: int
    shape: torch.Size
    dtype: torch.dtype


@dataclass(frozen=True)
class PickledBatch:
    """Pickled value; the bytes of all its tensors are in a single tensor.

    Args:
        content: The pickled value without its tensors.
        tensors: ``(N,)`` uint8; the bytes of all tensors.

    Example:
        >>> pickled = PickledBatch.of([dict(inputs=torch.ones(2, 3)), "a.png"])
        >>> pickled.tensors.shape, pickled.load()[0]["inputs"].shape, pickled.load()[1]
        (torch.Size([32]), torch.Size([2, 3]), 'a.png')
    """

    content: bytes
    tensors: Tensor

    @classmethod
    def of(cls, value: Any) -> PickledBatch:
        """Pickle a value."""
        file = io.BytesIO()
        pickler = _Pickler(file, protocol=pickle.HIGHEST_PROTOCOL)
        pickler.dump(value)
        tensors = torch.empty(pickler.size, dtype=torch.uint8)
        for tensor, begin in pickler.tensors:
            _view_of(tensors, _Position(begin, tensor.shape, tensor.dtype)).copy_(tensor)
        return cls(file.getvalue(), tensors)

    def load(self) -> Any:
        """Return the value; its tensors share the memory of :attr:`tensors`."""
        return _Unpickler(io.BytesIO(self.content), self.tensors).load()


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.tensors: list[tuple[Tensor, int]] = []
        self.size = 0

    def persistent_id(self, obj: Any) -> _Position | None:
        is_plain = type(obj) is Tensor and obj.layout == torch.strided and not obj.requires_grad
        if not is_plain or obj.device.type != "cpu" or obj.is_quantized:
            return None
        position = _Position(self.size, obj.shape, obj.dtype)
        self.tensors.append((obj, self.size))
        self.size += math.ceil(obj.numel() * obj.element_size() / ALIGNMENT) * ALIGNMENT
        return position


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, tensors: Tensor) -> None:
        super().__init__(file)
        self._tensors = tensors

    def persistent_load(self, pid: _Position) -> Tensor:
        return _view_of(self._tensors, pid)


def _view_of(tensors: Tensor, position: _Position) -> Tensor:
    size = position.shape.numel() * torch.empty(0, dtype=position.dtype).element_size()
    return tensors[position.begin : position.begin + size].view(position.dtype).view(position.shape)
