"""Small random banks and queries with edge cases."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from mmickd.banks import MemoryBank
from mmickd.structures import Context, Samples


@dataclass
class Case:
    bank: MemoryBank
    query: Samples
    num_positives: int | None
    num_negatives: int
    exclude_same_id: bool
    chunk_size: int | None


def samples(g, count, width, classes, images, least_label=0, dtype=torch.float32):
    features = F.normalize(torch.randn(count, width, generator=g), dim=1)
    return Samples(
        features.to(dtype),
        torch.randn(count, classes, generator=g).to(dtype),
        torch.randint(least_label, classes, (count,), generator=g),
        torch.randint(-1, images, (count,), generator=g),
    )


@st.composite
def cases(draw, dtypes=(torch.float32, torch.float16)):
    """Draw a case: ids repeat or are -1, labels of queries may be -1, classes may be empty."""
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    classes, width = draw(st.integers(1, 5)), draw(st.integers(4, 9))
    images = draw(st.integers(0, 6))
    bank = samples(
        g, draw(st.integers(0, 40)), width, classes, images, dtype=draw(st.sampled_from(dtypes))
    )
    if draw(st.booleans()):  # more rows in fewer classes
        bank = Samples(bank.features, bank.logits, bank.labels // 2, bank.ids)
    return Case(
        MemoryBank(bank, classes),
        samples(g, draw(st.integers(0, 9)), width, classes, images, least_label=-1),
        draw(st.none() | st.integers(0, 50)),
        draw(st.integers(0, 50)),
        draw(st.booleans()),
        draw(st.none() | st.integers(1, 12)),
    )


def run(retriever, case: Case) -> tuple[Context, Context]:
    return retriever.search(
        case.bank, case.query, case.num_positives, case.num_negatives, case.exclude_same_id
    )


def check_context(context: Context, bank: MemoryBank, queries: int, width: int) -> None:
    """Check what holds for the context of any query."""
    assert context.similarity.shape == context.mask.shape == context.indices.shape
    assert context.mask.shape == (queries, width)
    assert context.logits.shape == (queries, width, bank.num_classes)
    assert context.similarity.dtype == context.logits.dtype == torch.float32
    assert context.mask.dtype == torch.bool and context.indices.dtype == torch.long
    masked = ~context.mask
    assert bool((context.similarity[masked] == 0).all())
    assert bool((context.logits[masked] == 0).all())
    assert bool((context.indices[masked] == -1).all())
    rows = context.indices[context.mask]
    assert bool((rows >= 0).all()) and bool((rows < max(1, len(bank))).all())
    if len(rows):
        assert torch.equal(context.logits[context.mask], bank.logits[rows].float())
    # Valid rows come first, sorted by falling similarity, and no row twice.
    counts = context.mask.sum(dim=1)
    assert torch.equal(context.mask, torch.arange(width) < counts[:, None])
    for similarity, indices, count in zip(
        context.similarity, context.indices, counts.tolist(), strict=True
    ):
        assert bool((similarity[:count].diff() <= 0).all())
        assert len(set(indices[:count].tolist())) == count
