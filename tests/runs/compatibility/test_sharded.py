"""A student that FSDP has sharded, in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import distributed, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from mmickd.networks.dry_run import dry_run
from mmickd.networks.taps import Tap
from mmickd.structures import Batch
from mmickd.teachers import SelfTeacher
from mmickd.utils.errors import ICKDError
from mmickd.utils.modules import is_sharded
from tests.helpers.teachers import run_context


class Student(nn.Module):
    """Its classifier has no usual name."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, inputs: torch.Tensor, mode: str = "tensor") -> torch.Tensor:
        return self.last(self.body(inputs).relu())


@pytest.fixture
def wrapper() -> Iterator[FullyShardedDataParallel]:
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        yield FullyShardedDataParallel(Student(), device_id=torch.device("cpu"))
    finally:
        distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
def test_the_layer_of_a_sharded_student_must_be_named(wrapper: FullyShardedDataParallel) -> None:
    model = wrapper.module
    assert is_sharded(model) and not is_sharded(Student())
    with pytest.raises(ICKDError, match=r"sharded \(FSDP\).*set the hook's layer"):
        dry_run(model, "auto", (), Batch(torch.empty(0), []))
    assert dry_run(model, "last", (), Batch(torch.empty(0), [])) == ("last", 3)


@pytest.mark.filterwarnings("ignore")
def test_it_cannot_be_copied_as_its_own_teacher(wrapper: FullyShardedDataParallel) -> None:
    with pytest.raises(ICKDError, match=r"SelfTeacher copies the student.*use DDP"):
        SelfTeacher().build(run_context(wrapper.module))


@pytest.mark.filterwarnings("ignore")
def test_a_tap_reads_it_inside_of_its_wrapper(wrapper: FullyShardedDataParallel) -> None:
    tap = Tap(wrapper.module, "last")
    tap.arm()
    output = wrapper(torch.randn(2, 4))
    tapped = tap.take()
    assert tapped is not None and torch.equal(tapped.logits, output)
