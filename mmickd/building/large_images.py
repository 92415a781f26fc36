"""Errors for images that do not fit into memory while a memory bank is built."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from PIL import Image

from mmickd.utils.errors import ICKDError, is_out_of_memory
from mmickd.utils.text import error_text

SMALLER = "Set bank.pipeline to transforms that make smaller images (a Resize or a crop)"


@contextmanager
def _explain(message: Callable[[Exception], str]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # running out of memory raises many types
        if not is_out_of_memory(error):
            raise
        raise ICKDError(message(error)) from error


def explain_large_image(name: str, sample: Any = None) -> AbstractContextManager[None]:
    """Explain an out-of-memory error in the block, which reads an image or runs the teacher on it.

    Args:
        name: Path or other name of the image.
        sample: Packed sample whose ``inputs`` are ``(C, h, w)``; None while it is read.

    Raises:
        ICKDError: With the image's size, if memory runs out.
    """
    return _explain(lambda error: too_large_message(name, sample, error))


def too_large_message(name: str, sample: Any, error: BaseException) -> str:
    """Return the message for an image that is too large; see :func:`explain_large_image`."""
    if sample is None:
        place, size = "while it is read", _size_of_file(name)
    else:
        height, width = sample["inputs"].shape[-2:]
        place, size = "in the teacher", f", an image of {height}x{width} pixels,"
    return (
        f"out of memory while the memory bank was built: {name}{size} does not fit into memory "
        f"{place} ({error_text(error)}). {SMALLER}; bank.batch_size images are read at once, so a "
        "smaller bank.batch_size may be needed as well."
    )


def _size_of_file(name: str) -> str:
    """Return the part of a message with the size of an image file; empty if it is unknown."""
    try:
        with Image.open(name) as image:
            return f", an image of {image.height}x{image.width} pixels,"
    except Exception:  # no file, or no image
        return ""


def explain_large_batches(batch_size: int) -> AbstractContextManager[None]:
    """Explain an out-of-memory error in the block, which reads batches or collects rows.

    Raises:
        ICKDError: With the options to change, if memory runs out.
    """
    remedy = f"Set bank.batch_size to less than {batch_size} images at once"
    if batch_size == 1:
        remedy = SMALLER
    return _explain(
        lambda error: (
            f"out of memory while the memory bank was built ({error_text(error)}). {remedy}. If "
            "that does not help, reduce bank.num_workers (if the host's memory or shared memory is "
            "full), add a Resize or a crop to bank.pipeline (if single images are large), or set "
            "bank.capacity_per_class (if there are too many rows)."
        )
    )
