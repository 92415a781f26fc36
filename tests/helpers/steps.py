"""Parts of a step, real and tiny: teachers, sources, batches, losses that record their input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmickd.banks import MemoryBank
from mmickd.losses import BaseLoss
from mmickd.losses.schedules import WeightSchedule
from mmickd.losses.terms import LossTerms, Term
from mmickd.retrieval import TorchRetriever
from mmickd.retrieval.memory import Memory
from mmickd.structures import Batch, Queries, Tapped
from mmickd.tasks import ClassificationTask
from mmickd.teachers import PeerStep, Source, Teacher
from tests.helpers.retrieval_cases import samples
from tests.helpers.task_cases import picture, scene, tapped

IMAGES, WIDTH, CLASSES = 4, 5, 3
GRID = (4, 6)


class GivenTeacher(Teacher):
    """Teacher with fixed sources and peer steps; it records the calls of a step."""

    is_frozen, layers, class_counts = False, "", {}

    def __init__(self, sources: Sequence[Source], peers: Sequence[PeerStep] = ()) -> None:
        self.sources, self.peers = sources, peers
        self.calls: list[Any] = []

    def build(self, run: Any) -> None: ...

    def dry_run(self, batch: Batch, student_layer: str) -> None: ...

    def open(self, remember: Any, momentum: float | None) -> None: ...

    @property
    def memories(self) -> Mapping[str, Memory]:
        return {f"source{i}": source.memory for i, source in enumerate(self.sources)}

    def forward(self, batch: Batch, student: Tapped) -> Sequence[Source]:
        self.calls.append(("forward", batch, student))
        return self.sources

    def peer_steps(self) -> Sequence[PeerStep]:
        return self.peers

    def after_step(self, student: Any, ends_epoch: bool) -> dict[str, Tensor]:
        banks = [bank for memory in self.memories.values() for bank in memory.banks.values()]
        filled = [int(bank.counts.sum()) for bank in banks]
        self.calls.append(("after_step", student, ends_epoch, filled))
        return {"pace": torch.tensor(0.5)}


class RecordingRetriever(TorchRetriever):
    """Retriever that records the arguments of its searches, without the bank."""

    def __init__(self) -> None:
        super().__init__()
        self.searches: list[tuple[Any, ...]] = []

    def search(self, bank: Any, query: Any, *args: Any) -> Any:
        self.searches.append((query, *args))
        return super().search(bank, query, *args)


class RecordingLoss(BaseLoss):
    """Sum of the student's logits; it records its queries."""

    def __init__(
        self, num_positives: int | None = 0, num_negatives: int = 0, is_dense: bool = False
    ) -> None:
        super().__init__()
        self.num_positives, self.num_negatives = num_positives, num_negatives
        self.is_dense = is_dense
        self.queries: list[Queries] = []

    def forward(self, queries: Queries) -> Tensor:
        self.queries.append(queries)
        return queries.student_logits.sum(dim=1)


def only_terms(*losses: BaseLoss, task: float = 1.0) -> LossTerms:
    """Return terms 'a', 'b', ... of weight 1, without default terms."""
    terms = [Term(n, loss, WeightSchedule(1.0)) for n, loss in zip("abc", losses, strict=False)]
    return LossTerms({term.name: term for term in terms}, WeightSchedule(task))


def classified(seed: int, gradient: bool = False) -> Tapped:
    """Return a classifier's random outputs for :func:`pictures`."""
    g = torch.Generator().manual_seed(seed)
    features = torch.randn(IMAGES, WIDTH, generator=g)
    return Tapped(features, torch.randn(IMAGES, CLASSES, generator=g).requires_grad_(gradient))


def pictures() -> Batch:
    """Return a batch of images of the classes 0, 1, 2, 0."""
    labels = [i % CLASSES for i in range(IMAGES)]
    images = [picture(label, path=f"{i}.png") for i, label in enumerate(labels)]
    return Batch(torch.zeros(IMAGES, 3, 8, 8), images)


def segmented(seed: int) -> Tapped:
    """Return a segmenter's random outputs for :func:`scenes`."""
    torch.manual_seed(seed)
    return tapped(2, WIDTH, CLASSES, GRID)


def scenes() -> Batch:
    """Return a batch of two images; the left half of the first is void."""
    gt = torch.arange(8)[:, None].expand(8, 12) % CLASSES
    void = gt.clone()
    void[:, :6] = 255
    return Batch(torch.zeros(2, 3, 8, 12), [scene(void, "0.png"), scene(gt, "1.png")])


def bank(seed: int = 0) -> MemoryBank:
    """Return a bank of images that are in no batch."""
    g = torch.Generator().manual_seed(100 + seed)
    return MemoryBank(samples(g, 30, WIDTH, CLASSES, 1), CLASSES)


def memory(seed: int = 0, retriever: TorchRetriever | None = None) -> Memory:
    """Return a memory of one bank, for images."""
    return Memory({"image": bank(seed)}, retriever or TorchRetriever())


def source(outputs: Tapped, memory: Memory, **options: Any) -> Source:
    """Return a source with the outputs of a classifier."""
    return Source(ClassificationTask(), memory, lambda: outputs, **options)
