"""A student that FSDP has sharded, in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import distributed
from torch.distributed.fsdp import FullyShardedDataParallel

from mmickd.networks.dry_run import dry_run
from mmickd.networks.taps import Tap
from mmickd.structures import Batch
from mmickd.teachers import SelfTeacher
from mmickd.utils.errors import ICKDError
from mmickd.utils.modules import is_sharded
from tests.helpers.nets import Net
from tests.helpers.teachers import run_context


@pytest.fixture
def wrapper() -> Iterator[FullyShardedDataParallel]:
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        yield FullyShardedDataParallel(Net(), device_id=torch.device("cpu"))
    finally:
        distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
def test_the_layer_of_a_sharded_student_must_be_named(wrapper: FullyShardedDataParallel) -> None:
    model = wrapper.module
    assert is_sharded(model) and not is_sharded(Net())
    with pytest.raises(ICKDError, match=r"FSDP.*layer"):
        dry_run(model, "auto", (), Batch(torch.empty(0), []))
    assert dry_run(model, "out", (), Batch(torch.empty(0), [])) == ("out", 3)


@pytest.mark.filterwarnings("ignore")
def test_a_self_teacher_of_a_sharded_student_is_refused(wrapper: FullyShardedDataParallel) -> None:
    with pytest.raises(ICKDError, match=r"SelfTeacher.*DDP"):
        SelfTeacher().build(run_context(wrapper.module))


@pytest.mark.filterwarnings("ignore")
def test_a_tap_reads_a_sharded_student(wrapper: FullyShardedDataParallel) -> None:
    tap = Tap(wrapper.module, "out")
    tap.arm()
    output = wrapper(torch.randn(2, 4))
    tapped = tap.take()
    assert tapped is not None and torch.equal(tapped.logits, output)
