"""A teacher's memory: queried in a step, fed after it, saved with the run."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmickd.banks import MemoryBank, QueueBank
from mmickd.retrieval import RandomRetriever, TorchRetriever
from mmickd.retrieval.memory import Memory, StoredFeatures
from mmickd.structures import Context, Samples
from mmickd.utils.errors import ICKDError
from tests.helpers.retrieval_cases import samples

CLASSES, WIDTH = 3, 5


def rows(count: int, seed: int = 0, dtype: Any = torch.float32, **replaced: Any) -> Samples:
    """Return rows of distinct images, classes in turn; ``replaced`` has other labels or ids."""
    drawn = samples(torch.Generator().manual_seed(seed), count, WIDTH, CLASSES, 1, dtype=dtype)
    defaults = dict(labels=torch.arange(count) % CLASSES, ids=torch.arange(count) + 100 * seed)
    return Samples(drawn.features, drawn.logits, **{**defaults, **replaced})


def queue(capacity: int = 4) -> QueueBank:
    return QueueBank(CLASSES, capacity, WIDTH)


def memory(banks: dict[str, Any], **options: Any) -> Memory:
    return Memory(banks, TorchRetriever(), **options)


def is_same(a: Context, b: Context) -> bool:
    return all(torch.equal(x, vars(b)[name]) for name, x in vars(a).items())


def test_a_query_searches_the_bank_of_its_level() -> None:
    banks = {"pixel": MemoryBank(rows(12), CLASSES), "region": MemoryBank(rows(9, 1), CLASSES)}
    query = rows(5, seed=2)
    for level, bank in banks.items():
        result = memory(banks).query(level, query, 2, 3)
        expected = TorchRetriever().search(bank, query, 2, 3)
        assert all(is_same(a, b) for a, b in zip(result, expected, strict=True))
        assert result[0].mask.shape == (5, 2) and bool(result[1].mask.all())


def test_queries_of_a_copy_leave_the_memory_as_it_is() -> None:
    bank = MemoryBank(rows(60), CLASSES)
    original, untouched = (Memory({"image": bank}, RandomRetriever()) for _ in range(2))
    copy = original.copy()
    assert copy.banks["image"] is bank

    def query_twice(memory: Memory) -> list[Context]:
        return [memory.query("image", rows(5, seed=2), 4, 4)[0] for _ in range(2)]

    first, expected, result = map(query_twice, (copy, untouched, original))
    for contexts in zip(first, expected, result, strict=True):
        assert is_same(contexts[0], contexts[1]) and is_same(contexts[1], contexts[2])
    assert not is_same(*expected)


@pytest.mark.parametrize("exclude", [True, False])
def test_the_queries_own_images_are_left_out_by_option(exclude: bool) -> None:
    bank = MemoryBank(rows(6), CLASSES)  # two rows of each class, one of them of the query's image
    positives, _ = memory({"image": bank}, exclude_same_id=exclude).query("image", rows(6), 2, 0)
    assert positives.mask.sum(dim=1).tolist() == [1 if exclude else 2] * 6


@pytest.mark.parametrize(
    ("level", "numbers"), [("region", (2, 3)), ("image", (0, 0))], ids=["no bank", "no rows"]
)
def test_the_context_is_empty_without_a_bank_or_without_rows_to_retrieve(
    level: str, numbers: tuple[int, int]
) -> None:
    for context in memory({"image": MemoryBank(rows(6), CLASSES)}).query(level, rows(4), *numbers):
        assert context.mask.shape == (4, 0) and context.logits.shape == (4, 0, CLASSES)


def test_none_retrieves_the_whole_class() -> None:
    bank = MemoryBank(rows(9), CLASSES)
    positives, negatives = memory({"image": bank}).query("image", rows(4, seed=1), None, 0)
    assert positives.mask.tolist() == [[True] * 3] * 4 and negatives.mask.shape == (4, 0)


def test_staged_rows_are_in_the_queue_after_feed_and_not_before() -> None:
    bank = queue()
    fed = memory({"image": bank})
    fed.query("image", rows(5), 1, 1)
    fed.feed()
    assert int(bank.counts.sum()) == 0  # a query alone is not fed
    fed.stage("image", rows(5))
    for context in fed.query("image", rows(5), 1, 1):
        assert not bool(context.has_rows.any())
    fed.feed()
    assert bank.counts.tolist() == [2, 2, 1]
    positives, _ = fed.query("image", rows(3, seed=1), 4, 0)
    ids = [set(bank.ids[indices[indices >= 0]].tolist()) for indices in positives.indices]
    assert ids == [{0, 3}, {1, 4}, {2}]


def test_rows_that_are_staged_twice_in_a_step_are_fed_once() -> None:
    """Two students may query the memory of one source by the same batch."""
    bank = queue()
    fed = memory({"image": bank})
    for _ in range(2):
        fed.stage("image", rows(3))
    for _ in range(3):  # no rows are staged in the second and third step
        fed.feed()
        assert bank.counts.tolist() == [1, 1, 1]


def test_each_level_is_fed_with_its_own_rows() -> None:
    pixels, regions = queue(), queue()
    fed = memory({"pixel": pixels, "region": regions})
    fed.stage("pixel", rows(6))
    fed.stage("region", rows(3, seed=1))
    fed.feed()
    assert pixels.counts.tolist() == [2, 2, 2] and regions.counts.tolist() == [1, 1, 1]
    assert set(regions.ids[regions.ids >= 0].tolist()) == {100, 101, 102}


def test_rows_without_a_class_do_not_get_into_the_queue() -> None:
    bank = queue()
    fed = memory({"image": bank})
    fed.stage("image", rows(3, labels=torch.tensor([0, -1, -1])))
    fed.feed()
    assert bank.counts.tolist() == [1, 0, 0]


@pytest.mark.parametrize("bank", [MemoryBank(rows(12), CLASSES), queue()])
@pytest.mark.parametrize("huge", [13, 10**7])
def test_contexts_are_no_wider_than_the_bank(bank: Any, huge: int) -> None:
    """A context that is padded to 10**7 columns would take minutes, and gigabytes."""
    queried, query = memory({"image": bank}), rows(3, seed=1)
    expected = TorchRetriever().search(bank, query, 4, 12)
    result = queried.query("image", query, huge, huge)
    assert all(is_same(a, b) for a, b in zip(result, expected, strict=True))
    fewer = queried.query("image", query, 2, 3)
    assert fewer[0].mask.shape == (3, 2) and fewer[1].mask.shape == (3, 3)


def test_a_frozen_bank_is_not_fed() -> None:
    bank = MemoryBank(rows(6), CLASSES)
    fed = memory({"image": bank})
    fed.stage("image", rows(3, seed=1))
    fed.feed()
    assert len(bank) == 6 and fed.banks["image"] is bank


def test_query_by_stored_takes_the_features_of_the_bank() -> None:
    bank = MemoryBank(rows(9), CLASSES)
    turned = Samples(-rows(9).features, rows(9).logits, rows(9).labels, rows(9).ids)
    by_stored = memory({"image": bank}, query_by_stored=True).query("image", turned, 2, 2)
    expected = TorchRetriever().search(bank, rows(9), 2, 2)
    by_view = memory({"image": bank}).query("image", turned, 2, 2)
    assert all(is_same(a, b) for a, b in zip(by_stored, expected, strict=True))
    assert not is_same(by_view[0], expected[0])


def test_stored_features_are_those_of_the_same_image_and_class() -> None:
    stored = rows(12, dtype=torch.float16, ids=torch.arange(12) // 3 + 100)
    bank = MemoryBank(stored, CLASSES)
    ids, labels = torch.tensor([100, 103, 102, 999, -1, 101]), torch.tensor([2, 0, 1, 1, 0, -1])
    query = rows(6, seed=1, labels=labels, ids=ids)
    result = StoredFeatures(bank).replace_in(query)
    for i in range(6):
        row = ((bank.ids == ids[i]) & (bank.labels == labels[i])).nonzero()[:, 0]
        has_row = len(row) == 1 and int(ids[i]) >= 0 and int(labels[i]) >= 0
        expected = bank.features[row[0]].float() if has_row else query.features[i]
        assert torch.equal(result.features[i], expected)
    assert result.features.dtype == torch.float32
    assert torch.equal(result.ids, ids) and torch.equal(result.labels, labels)


def test_unknown_images_have_no_stored_features() -> None:
    stored = rows(6, ids=torch.full((6,), -1))
    query = Samples(-stored.features, stored.logits, stored.labels, stored.ids)
    bank = MemoryBank(stored, CLASSES)
    assert torch.equal(StoredFeatures(bank).replace_in(query).features, query.features)


def fed_memory(steps: int, capacity: int = 4) -> Memory:
    """Return a memory of two queues and a frozen bank."""
    frozen = MemoryBank(rows(6), CLASSES)
    fed = memory({"pixel": queue(capacity), "region": queue(capacity), "image": frozen})
    for step in range(steps):
        for place, level in enumerate(("pixel", "region")):
            fed.stage(level, rows(4, seed=1 + 2 * step + place))
        fed.feed()
    return fed


@pytest.mark.parametrize("prefix", ["", "peer0."])
def test_a_restored_memory_continues_exactly(prefix: str) -> None:
    first, second = fed_memory(2), fed_memory(0)
    state = {f"{prefix}{level}": queue for level, queue in first.state_dict().items()}
    state = {name: {k: v.clone() for k, v in queue.items()} for name, queue in state.items()}
    second.load_state_dict({**state, "peer1.pixel": {}}, prefix)
    for fed in (first, second):
        fed.stage("pixel", rows(4, seed=9))
        fed.feed()
    for level in ("pixel", "region"):
        for name, expected in first.banks[level].state_dict().items():
            assert torch.equal(second.banks[level].state_dict()[name], expected), (level, name)


def test_the_state_holds_queues_alone() -> None:
    state = fed_memory(1).state_dict()
    assert list(state) == ["pixel", "region"]
    assert all(value.device.type == "cpu" for queue in state.values() for value in queue.values())
    assert memory({}).state_dict() == {}


def test_a_state_of_another_size_is_refused_with_the_name_of_the_queue() -> None:
    state = fed_memory(1, capacity=3).state_dict()
    state = {f"student.{level}": queue for level, queue in state.items()}
    with pytest.raises(ICKDError, match=r"student\.pixel queue \(.*features"):
        fed_memory(0).load_state_dict(state, "student.")


def test_a_state_without_a_queue_is_refused_with_its_name() -> None:
    state = fed_memory(1).state_dict()
    del state["region"]
    with pytest.raises(ICKDError, match=r"region queue \(.*missing"):
        fed_memory(0).load_state_dict(state)
