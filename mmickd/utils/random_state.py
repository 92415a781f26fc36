"""Preservation of random states, and detection of their use."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Restore the random generators of python, numpy, torch and all CUDA devices after the block.

    Example:
        >>> before = torch.get_rng_state()
        >>> with preserved_random_state():
        ...     drawn = torch.rand(3)
        >>> torch.equal(torch.get_rng_state(), before)
        True
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(gpus):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def draws_random_numbers(run: Callable[[], object]) -> bool:
    """True if ``run()`` draws from the generators of python, numpy or torch (CPU).

    Example:
        >>> draws_random_numbers(lambda: torch.rand(3)), draws_random_numbers(lambda: torch.ones(3))
        (True, False)
    """
    before = _states()
    run()
    return _states() != before


def _states() -> tuple[object, ...]:
    _, keys, *rest = np.random.get_state()
    return random.getstate(), np.asarray(keys).tobytes(), *rest, torch.get_rng_state().tolist()
