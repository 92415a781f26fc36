"""Equal values have equal digests, different values have different ones."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmickd.utils.digest import digest


class Thing:
    def __init__(self, **values):
        self.__dict__.update(values)


class Other(Thing):
    pass


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


def first():
    return 1


def second():
    return 2


def test_order_and_addresses_do_not_matter():
    a = Thing(size=(3, 4), inner=Thing(name="x", mean=np.arange(3.0)), keys={"a", "b", "c"})
    b = Thing(keys={"c", "b", "a"}, inner=Thing(mean=np.arange(3.0), name="x"), size=(3, 4))
    assert digest([a, {"p": 1, "q": 2}]) == digest([b, {"q": 2, "p": 1}])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, 2),
        (1, True),
        (1, 1.0),
        (0.1, 0.1 + 1e-16 * 2),
        ("a", "b"),
        ("a", b"a"),
        (None, "None"),
        ([1, 2], [2, 1]),
        ([[1], 2], [[1, 2]]),
        (["ab", "c"], ["a", "bc"]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, ["a", 1]),
        (np.zeros(3), np.zeros(4)),
        (np.zeros(3, np.float32), np.zeros(3, np.int32)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.array([1, 2]), np.array([1, 3])),
        (torch.zeros(2), torch.ones(2)),
        (np.array(["a", None], object), np.array(["b", None], object)),
        (Thing(a=1), Thing(a=2)),
        (Thing(a=1), Other(a=1)),
        (Thing, Other),
        (first, second),
        (functools.partial(first, 1), functools.partial(first, 2)),
        (Thing(a=1).__init__, Thing(a=2).__init__),
        (Slotted(1), Slotted(2)),
        (Path("a"), Path("b")),
        (torch.float16, torch.float32),
        (re.compile("a"), re.compile("b")),
        (range(3), range(4)),
    ],
)
def test_different_values_differ(a, b):
    assert digest(a) != digest(b)
    assert digest(a) == digest(a)


def test_object_arrays_are_digested_by_value():
    def make():
        return np.array([{"name": "x" * 50}, [1.5, "y" * 50]], dtype=object)

    assert digest(make()) == digest(make())


def test_a_reference_cycle_is_digested():
    a, b = Thing(x=1), Thing(x=1)
    a.me, b.me = a, b
    assert digest(a) == digest(b)


def test_the_same_in_another_process():
    """The order of sets of strings, and addresses, differ between processes."""
    code = (
        "import functools, re; from pathlib import Path; import numpy as np, torch\n"
        "from mmengine.dataset import Compose\n"
        "from mmickd.utils.digest import digest\n"
        "class T: pass\n"
        "t = T(); t.words = {'a', 'bb', 'ccc'}; t.part = functools.partial(len, 'x')\n"
        "t.path = Path('p'); t.objects = np.array([t.words, 'q'], dtype=object)\n"
        "t.pipeline = Compose([len]); t.pattern = re.compile('x'); t.lower = 'X'.lower\n"
        "print(digest([t, torch.float16, np.float32(2)]))"
    )
    digests = set()
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
        )
        digests.add(run.stdout.strip().splitlines()[-1])
    assert len(digests) == 1
