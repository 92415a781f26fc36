"""The run's random state."""

import random

import numpy as np
import pytest
import torch

from mmickd.utils.random_state import preserved_random_state


def draws():
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_random_state_is_preserved_even_by_an_error():
    def seed():
        random.seed(1), np.random.seed(1), torch.manual_seed(1)

    seed()
    expected = [draws(), draws()]
    seed()
    result = [draws()]
    with pytest.raises(RuntimeError), preserved_random_state():
        random.seed(9), np.random.seed(9), torch.manual_seed(9)
        draws()
        raise RuntimeError
    result.append(draws())
    assert result == expected
