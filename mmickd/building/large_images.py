"""Messages for images that do not fit into memory while a memory bank is built."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from mmickd.utils.errors import ICKDError, is_out_of_memory
from mmickd.utils.text import error_text

SMALLER = "Set bank.pipeline to transforms that make smaller images (a Resize or a crop)"


@contextmanager
def explain_large_image(name: str, sample: Any = None) -> Iterator[None]:
    """Explain that one image, read or run alone, does not fit into memory.

    Args:
        name: of the image, its path if it has one.
        sample: packed, whose ``inputs`` are ``(C, h, w)``; None while it is read.

    Raises:
        ICKDError: with its size, if memory runs out inside.
    """
    try:
        yield
    except Exception as error:  # memory runs out as many kinds of errors
        if not is_out_of_memory(error):
            raise
        raise ICKDError(why_too_large(name, sample, error)) from error


def why_too_large(name: str, sample: Any, error: BaseException) -> str:
    """Say what is too large, and what to set; see :func:`explain_large_image`."""
    if sample is None:
        what, size = "while it was read", _size_of_file(name)
    else:
        height, width = sample["inputs"].shape[-2:]
        what, size = "in the teacher", f", an image of {height}x{width} pixels,"
    return (
        f"out of memory: {name}{size} does not fit {what}, as the memory bank reads it "
        f"({error_text(error)}). {SMALLER}; bank.batch_size such images are read at once, so a "
        "small one may be needed as well."
    )


def _size_of_file(name: str) -> str:
    """Its height and width, as far as the head of the file gives them."""
    try:
        with Image.open(name) as image:
            return f", an image of {image.height}x{image.width} pixels,"
    except Exception:  # not a file, or one of another kind
        return ""


@contextmanager
def explain_large_batches(batch_size: int) -> Iterator[None]:
    """Explain that batches, or the rows of the bank, do not fit into memory.

    Raises:
        ICKDError: with what to set, if memory runs out inside.
    """
    try:
        yield
    except Exception as error:  # memory runs out as many kinds of errors
        if not is_out_of_memory(error):
            raise
        fewer = f"Set bank.batch_size to less than {batch_size} images at once"
        raise ICKDError(
            f"out of memory while the memory bank was built ({error_text(error)}). "
            f"{fewer if batch_size > 1 else SMALLER}. If that does not help: fewer "
            "bank.num_workers where the host's (shared) memory runs out; bank.pipeline with a "
            "Resize or a crop where single images are large; bank.capacity_per_class where there "
            "are too many rows."
        ) from error
