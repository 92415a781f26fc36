"""A teacher's memory: asked in a step, fed after it, saved with the run."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmickd.banks import MemoryBank, QueueBank
from mmickd.retrieval import RandomRetriever, TorchRetriever
from mmickd.retrieval.memory import Memory
from mmickd.structures import Context, Samples
from mmickd.utils.errors import ICKDError
from tests.helpers.retrieval_cases import samples

CLASSES, WIDTH = 3, 5


def rows(count: int, seed: int = 0, **fields: Any) -> Samples:
    """Rows of known images, each another one, in turn of each class; or as ``fields`` say."""
    made = samples(torch.Generator().manual_seed(seed), count, WIDTH, CLASSES, 1)
    given = dict(labels=torch.arange(count) % CLASSES, ids=torch.arange(count) + 100 * seed)
    return Samples(made.features, made.logits, **{**given, **fields})


def queue(capacity: int = 4) -> QueueBank:
    return QueueBank(CLASSES, capacity, WIDTH)


def memory(banks: dict[str, Any], **options: Any) -> Memory:
    return Memory(banks, TorchRetriever(), **options)


def same(a: Context, b: Context) -> bool:
    return all(torch.equal(x, vars(b)[name]) for name, x in vars(a).items())


def test_an_answer_is_what_the_retriever_finds_in_the_bank_of_the_level() -> None:
    banks = {"pixel": MemoryBank(rows(12), CLASSES), "region": MemoryBank(rows(9, 1), CLASSES)}
    query = rows(5, seed=2)
    for level, bank in banks.items():
        got = memory(banks).query(level, query, 2, 3)
        want = TorchRetriever().search(bank, query, 2, 3)
        assert all(same(a, b) for a, b in zip(got, want, strict=True))
        assert got[0].mask.shape == (5, 2) and bool(got[1].mask.all())


def test_a_memory_apart_searches_the_same_banks_and_leaves_no_trace() -> None:
    bank = MemoryBank(rows(60), CLASSES)
    own, plain = (Memory({"image": bank}, RandomRetriever()) for _ in range(2))
    apart = own.apart()
    assert apart.banks["image"] is bank
    answers = [apart.query("image", rows(5, seed=2), 4, 4) for _ in range(2)]
    assert own.seconds() == 0 < apart.seconds()
    wanted = [plain.query("image", rows(5, seed=2), 4, 4) for _ in range(2)]
    got = [own.query("image", rows(5, seed=2), 4, 4) for _ in range(2)]
    for first, second, third in zip(answers, wanted, got, strict=True):
        assert all(same(a, b) and same(b, c) for a, b, c in zip(first, second, third, strict=True))
    assert not same(wanted[0][0], wanted[1][0])


@pytest.mark.parametrize("exclude", [True, False])
def test_the_queries_own_images_are_left_out_if_that_is_wanted(exclude: bool) -> None:
    asked = memory({"image": MemoryBank(rows(6), CLASSES)}, exclude_same_id=exclude)
    positives, _ = asked.query(
        "image", rows(6), 2, 0
    )  # two rows of each class, one of them its own
    assert positives.mask.sum(dim=1).tolist() == [1 if exclude else 2] * 6


@pytest.mark.parametrize(
    ("level", "wanted"), [("region", (2, 3)), ("image", (0, 0))], ids=["no bank", "nothing wanted"]
)
def test_nothing_is_found_where_there_is_no_bank_or_nothing_is_wanted(
    level: str, wanted: tuple[int, int]
) -> None:
    asked = memory({"image": MemoryBank(rows(6), CLASSES)})
    for context in asked.query(level, rows(4), *wanted):
        assert context.mask.shape == (4, 0) and context.logits.shape == (4, 0, CLASSES)
    assert asked.seconds() == 0.0  # it did not search


def test_a_whole_class_is_wanted_by_none() -> None:
    asked = memory({"image": MemoryBank(rows(9), CLASSES)})
    positives, negatives = asked.query("image", rows(4, seed=1), None, 0)
    assert positives.mask.tolist() == [[True] * 3] * 4 and negatives.mask.shape == (4, 0)


def test_a_queue_is_fed_with_what_was_asked_after_it_was_asked() -> None:
    bank, query = queue(), rows(5)
    asked = memory({"image": bank})
    positives, negatives = asked.query("image", query, 1, 1)
    assert not bool(positives.has_rows.any()) and not bool(negatives.has_rows.any())
    assert int(bank.counts.sum()) == 0  # of one step no query finds another
    asked.feed()
    assert bank.counts.tolist() == [2, 2, 1]
    other = rows(3, seed=1)
    positives, _ = asked.query("image", other, 4, 0)
    found = [set(bank.ids[own[own >= 0]].tolist()) for own in positives.indices]
    assert found == [{0, 3}, {1, 4}, {2}]


def test_what_was_asked_is_fed_once() -> None:
    bank = queue()
    asked = memory({"image": bank})
    asked.query("image", rows(3), 1, 1)
    for _ in range(3):  # steps in which nobody asks
        asked.feed()
        assert bank.counts.tolist() == [1, 1, 1]


def test_who_asks_twice_in_a_step_feeds_once() -> None:
    """Two learners may ask the memory of one source about the same batch."""
    bank = queue()
    asked = memory({"image": bank})
    for _ in range(2):
        asked.query("image", rows(3), 1, 1)
    asked.feed()
    assert bank.counts.tolist() == [1, 1, 1]


def test_a_queue_is_fed_also_if_nothing_was_wanted_of_it() -> None:
    """Weights that grow later find a queue that is full already."""
    bank = queue()
    asked = memory({"image": bank})
    asked.query("image", rows(3), 0, 0)
    asked.feed()
    assert bank.counts.tolist() == [1, 1, 1]


def test_each_level_is_fed_with_its_own_queries() -> None:
    pixels, regions = queue(), queue()
    asked = memory({"pixel": pixels, "region": regions})
    asked.query("pixel", rows(6), 1, 1)
    asked.query("region", rows(3, seed=1), 1, 1)
    asked.feed()
    assert pixels.counts.tolist() == [2, 2, 2] and regions.counts.tolist() == [1, 1, 1]
    assert set(regions.ids[regions.ids >= 0].tolist()) == {100, 101, 102}


def test_queries_without_a_class_do_not_get_into_the_queue() -> None:
    bank = queue()
    asked = memory({"image": bank})
    asked.query("image", rows(3, labels=torch.tensor([0, -1, -1])), 1, 1)
    asked.feed()
    assert bank.counts.tolist() == [1, 0, 0]


@pytest.mark.parametrize("made", [MemoryBank(rows(12), CLASSES), queue()])
@pytest.mark.parametrize("huge", [13, 10**7])
def test_no_more_is_asked_than_the_bank_can_give(made: Any, huge: int) -> None:
    """Padded to 10**7 columns, the answer alone would take minutes, and gigabytes."""
    asked, query = memory({"image": made}), rows(3, seed=1)
    want = TorchRetriever().search(made, query, 4, 12)
    got = asked.query("image", query, huge, huge)
    assert all(same(a, b) for a, b in zip(got, want, strict=True))
    fewer = asked.query("image", query, 2, 3)
    assert fewer[0].mask.shape == (3, 2) and fewer[1].mask.shape == (3, 3)


def test_a_frozen_bank_stays() -> None:
    bank = MemoryBank(rows(6), CLASSES)
    asked = memory({"image": bank})
    asked.query("image", rows(3, seed=1), 1, 1)
    asked.feed()
    assert len(bank) == 6 and asked.banks["image"] is bank


def test_stored_queries_ask_by_the_rows_of_the_bank() -> None:
    bank = MemoryBank(rows(9), CLASSES)
    turned = Samples(-rows(9).features, rows(9).logits, rows(9).labels, rows(9).ids)
    by_stored = memory({"image": bank}, asks_by_stored=True).query("image", turned, 2, 2)
    want = TorchRetriever().search(bank, rows(9), 2, 2)
    by_view = memory({"image": bank}).query("image", turned, 2, 2)
    assert all(same(a, b) for a, b in zip(by_stored, want, strict=True))
    assert not same(by_view[0], want[0])


def test_searching_takes_time_which_is_told_once() -> None:
    asked = memory({"image": MemoryBank(rows(30), CLASSES)})
    asked.query("image", rows(5), 3, 3)
    assert asked.seconds() > 0 and asked.seconds() == 0


def fed(count: int, capacity: int = 4) -> Memory:
    """A memory of two queues and a frozen bank."""
    frozen = MemoryBank(rows(6), CLASSES)
    made = memory({"pixel": queue(capacity), "region": queue(capacity), "image": frozen})
    for step in range(count):
        for place, level in enumerate(("pixel", "region")):
            made.query(level, rows(4, seed=1 + 2 * step + place), 0, 0)
        made.feed()
    return made


@pytest.mark.parametrize("begin", ["", "peer0."])
def test_a_restored_memory_goes_on_as_if_nothing_had_happened(begin: str) -> None:
    first, second = fed(2), fed(0)
    state = {f"{begin}{level}": queue for level, queue in first.state_dict().items()}
    state = {name: {k: v.clone() for k, v in queue.items()} for name, queue in state.items()}
    second.load_state_dict({**state, "peer1.pixel": {}}, begin)  # among others
    for made in (first, second):
        made.query("pixel", rows(4, seed=9), 0, 0)
        made.feed()
    for level in ("pixel", "region"):
        for name, want in first.banks[level].state_dict().items():
            assert torch.equal(second.banks[level].state_dict()[name], want), (level, name)


def test_the_state_holds_queues_alone() -> None:
    state = fed(1).state_dict()
    assert list(state) == ["pixel", "region"]
    assert all(value.device.type == "cpu" for queue in state.values() for value in queue.values())
    assert memory({}).state_dict() == {}


def test_a_state_of_another_size_is_refused_with_the_name() -> None:
    state = {f"student.{level}": queue for level, queue in fed(1, capacity=3).state_dict().items()}
    with pytest.raises(ICKDError, match=r"holds another student\.pixel queue \(.*is wanted\)"):
        fed(0).load_state_dict(state, "student.")


def test_a_state_without_a_queue_is_refused_with_the_name() -> None:
    state = fed(1).state_dict()
    del state["region"]
    with pytest.raises(ICKDError, match=r"holds another region queue \(.*are missing"):
        fed(0).load_state_dict(state)
