"""A pickled batch has one tensor, and returns the value that was pickled."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, PixelData

from mmickd.building.build import _groups
from mmickd.building.pickled_batch import PickledBatch


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(12, dtype=torch.uint8).view(3, 4),
        torch.arange(6, dtype=torch.uint8).view(2, 3).T,
        torch.randn(2, 3, dtype=torch.float64),
        torch.randn(5).half(),
        torch.randn(3).bfloat16(),
        torch.tensor(7),
        torch.tensor([True, False, True]),
        torch.empty(0, 3),
        torch.nn.Parameter(torch.ones(2)),
        torch.sparse_coo_tensor([[1]], [2.0], (3,)),
        torch.ones(2, dtype=torch.complex64),
    ],
)
def test_every_tensor_is_restored(tensor: torch.Tensor) -> None:
    pickled = PickledBatch.of([torch.ones(3, dtype=torch.uint8), tensor, torch.ones(1)])
    first, result, last = pickled.load()
    assert type(result) is type(tensor) and result.dtype == tensor.dtype
    assert torch.equal(result.to_dense(), tensor.to_dense())
    assert first.tolist() == [1, 1, 1] and last.tolist() == [1]


def test_data_samples_and_messages() -> None:
    sample = BaseDataElement(metainfo=dict(img_path="a.png", scale=np.ones(2)))
    sample.gt_sem_seg = PixelData(data=torch.arange(6).view(1, 2, 3))
    result = PickledBatch.of([dict(inputs=torch.ones(3, 2, 2), data_samples=sample)]).load()[0]
    assert result["data_samples"].img_path == "a.png"
    assert torch.equal(result["data_samples"].gt_sem_seg.data, torch.arange(6).view(1, 2, 3))
    assert PickledBatch.of("a.png: no picture").load() == "a.png: no picture"
    shared = torch.ones(2)
    first, second = PickledBatch.of([shared, shared]).load()
    first[0] = 5  # a preprocessor changes it in place
    assert second.tolist() == shared.tolist() == [1, 1]


class Batches:
    """Four batches of 300 samples."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, batch: int) -> list[dict[str, torch.Tensor]]:
        return [
            dict(inputs=torch.full((3, 2, 2), n % 7), data_samples=torch.tensor([n]))
            for n in range(300)
        ]


@pytest.fixture
def few_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_large_batches_of_several_workers_need_few_files(few_files: None) -> None:
    groups = [samples for samples, _ in _groups(Batches(), range(4), num_workers=2)]  # type: ignore[arg-type]
    assert [len(samples) for samples in groups] == [300] * 4
    assert [int(sample["data_samples"]) for sample in groups[3]] == list(range(300))
