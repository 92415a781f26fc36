"""A peer: its losses, its own random numbers, its optimizer, and what of it is saved."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel, ImgDataPreprocessor
from mmengine.optim import LinearLR, OptimWrapper, StepLR
from torch import Tensor, nn

from mmickd.structures import Batch
from mmickd.teachers.normalization import InputConverter, InputNormalization
from mmickd.teachers.peer import Peer
from mmickd.utils.errors import ICKDError
from tests.helpers.teachers import with_computed_buffer
from tests.helpers.toys import same_state

CLASSES = 3


class Net(BaseModel):
    """A classifier with dropout, whose targets are its data samples."""

    def __init__(self, width: int = 6) -> None:
        super().__init__(ImgDataPreprocessor())
        self.body, self.norm = nn.Linear(12, width), nn.BatchNorm1d(width)
        self.drop, self.out = nn.Dropout(0.5), nn.Linear(width, CLASSES)

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        logits = self.out(self.drop(self.norm(self.body(inputs.flatten(1)))))
        if mode == "predict":
            return logits.argmax(dim=1)
        assert mode == "loss"
        return dict(loss=nn.functional.cross_entropy(logits, torch.tensor(data_samples)))


def peer(
    seed: int = 0,
    kind: type[torch.optim.Optimizer] = torch.optim.SGD,
    width: int = 6,
    **wrapper: Any,
) -> Peer:
    """Always with the same weights; ``seed`` is of its random numbers."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = Net(width)
    own = InputNormalization.read(network.data_preprocessor)
    optim_wrapper = OptimWrapper(kind(network.parameters(), lr=0.1), **wrapper)
    schedulers = [
        StepLR(optim_wrapper, step_size=1, gamma=0.5, by_epoch=True),
        LinearLR(optim_wrapper, start_factor=0.5, end=4, by_epoch=False),
    ]
    return Peer("peer0", network, optim_wrapper, schedulers, "out", InputConverter(own, own), seed)


def batch(seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(4, 3, 2, 2, generator=g), [0, 1, 2, 0])


def drawn(one: Peer, count: int = 3) -> list[Tensor]:
    """Logits of the next steps, which dropout makes random."""
    return [one.forward(batch())[1].logits.detach() for _ in range(count)]


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_it_gives_its_losses_and_what_its_classifier_says() -> None:
    one = peer()
    losses, said = one.forward(batch())
    want = nn.functional.cross_entropy(said.logits, torch.tensor(batch().data_samples))
    assert torch.equal(losses["loss"], want) and said.logits.requires_grad
    assert said.features.shape == (4, 6) and said.logits.shape == (4, CLASSES)


def test_the_students_random_numbers_stay_its_own() -> None:
    before = torch.get_rng_state()
    one = peer()
    losses, _ = one.forward(batch())
    one.learn(losses)
    assert torch.equal(torch.get_rng_state(), before)


def test_its_random_numbers_do_not_depend_on_what_the_student_draws() -> None:
    torch.manual_seed(1)
    alone = drawn(peer())
    beside, found = peer(), []
    for seed in range(3):
        torch.manual_seed(seed)
        torch.rand(seed)
        found += drawn(beside, 1)
    assert equal(found, alone)


def test_each_step_and_each_seed_draws_others() -> None:
    first, second, _ = drawn(peer())
    assert not torch.equal(first, second)
    assert not torch.equal(first, drawn(peer(seed=1))[0])


def test_random_numbers_go_on_after_an_error() -> None:
    one, other = peer(), peer()
    drawn(other, 1)
    with pytest.raises(IndexError):
        one.forward(Batch(batch().inputs, [0, 1, 2, 9]))  # a label that is no class
    assert equal(drawn(one, 1), drawn(other, 1))


def test_a_step_is_that_of_its_optimizer() -> None:
    one = peer()
    losses, _ = one.forward(batch())
    weights = list(one.network.parameters())
    before = [value.detach().clone() for value in weights]
    gradients = torch.autograd.grad(losses["loss"], weights, retain_graph=True)
    logged = one.learn(losses)
    assert list(logged) == ["peer0.loss"] and torch.equal(logged["peer0.loss"], losses["loss"])
    for value, old, gradient in zip(weights, before, gradients, strict=True):
        assert torch.allclose(value, old - 0.05 * gradient)  # the warm-up halves the rate of 0.1


def test_losses_are_added_up_as_the_students_are() -> None:
    one = peer()
    task = one.forward(batch())[0]["loss"]
    logged = one.learn(dict(loss_ce=task, loss_kd=torch.tensor(2.0), kd_sim=torch.tensor(9.0)))
    assert set(logged) == {f"peer0.{name}" for name in ("loss", "loss_ce", "loss_kd", "kd_sim")}
    assert torch.allclose(logged["peer0.loss"], task + 2.0)


def test_schedulers_step_by_iteration_or_by_epoch() -> None:
    one = peer()
    one.learn(one.forward(batch())[0])

    def rate() -> float:
        return one.optim_wrapper.get_lr()["lr"][0]

    start = rate()
    one.step_schedulers(by_epoch=True)
    assert rate() == pytest.approx(start / 2)
    one.step_schedulers(by_epoch=False)  # of 4 steps from 1/2 to 1, the first
    assert rate() == pytest.approx(start / 2 * (0.5 + 0.5 / 3) / 0.5)


def test_the_precision_of_the_students_step_is_not_its_own() -> None:
    one, other = peer(), peer()
    with torch.autocast("cpu", torch.bfloat16):
        losses, said = one.forward(batch())
        one.learn(losses)
    assert said.logits.dtype == torch.float32 and equal([said.logits], drawn(other, 1))


def test_it_trains_after_it_was_validated() -> None:
    class Evaluator:
        """Notes the predictions."""

        def __init__(self) -> None:
            self.seen: list[Tensor] = []

        def process(self, data_samples: Any, data_batch: Any) -> None:
            self.seen.append(data_samples)

        def evaluate(self, size: int) -> dict[str, Any]:
            return {"size": size, "batches": len(self.seen)}

    class Loader(list):
        dataset = range(7)

    one, evaluator = peer(), Evaluator()
    one.network.norm.eval()
    data = dict(inputs=[torch.zeros(3, 2, 2, dtype=torch.uint8)] * 4, data_samples=None)
    before = copy.deepcopy(one.network.state_dict())
    assert one.validate(Loader([data, data]), evaluator) == {"size": 7, "batches": 2}
    assert torch.equal(evaluator.seen[0], evaluator.seen[1])  # without dropout
    assert same_state(dict(one.network.state_dict()), dict(before))
    assert one.network.training and not one.network.norm.training
    one.forward(batch())
    assert one.network.norm.training


def test_norms_of_its_gradients_have_its_name() -> None:
    hub = MessageHub.get_instance("peer-test")
    one = peer(clip_grad=dict(max_norm=1.0))
    one.optim_wrapper.message_hub._hub = hub
    one.learn(one.forward(batch())[0])
    assert list(hub.log_scalars) == ["train/peer0.grad_norm"]


def trained(steps: int, **options: Any) -> Peer:
    one = peer(**options)
    for step in range(steps):
        one.learn(one.forward(batch(step))[0])
        one.step_schedulers(by_epoch=False)
        one.step_schedulers(by_epoch=step % 2 == 1)
    return one


def test_a_restored_peer_goes_on_as_if_nothing_had_happened() -> None:
    first, second = trained(3), peer(seed=5)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for one in (first, second):
        one.learn(one.forward(batch(9))[0])
        one.step_schedulers(by_epoch=False)
    states = [one.state_dict() for one in (first, second)]
    assert same_state(*(dict(state["state_dict"]) for state in states))
    assert torch.equal(*(state["random"]["cpu"] for state in states))
    assert first.optim_wrapper.get_lr() == second.optim_wrapper.get_lr()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            lambda: peer(kind=torch.optim.AdamW),
            r"holds another peer0 \(.*trained by AdamW, StepLR, LinearLR",
        ),
        (lambda: peer(width=7), r"holds another peer0 \(.*of shape"),
    ],
    ids=["recipe", "network"],
)
def test_a_state_of_another_peer_is_refused(other: Any, words: str) -> None:
    with pytest.raises(ICKDError, match=words):
        peer().load_state_dict(other().state_dict())


def test_a_state_of_other_schedulers_is_refused_before_anything_is_taken_over() -> None:
    one, saved = peer(), trained(2)
    saved.param_schedulers.pop()
    before = copy.deepcopy(one.state_dict()["state_dict"])
    with pytest.raises(ICKDError, match=r"holds another peer0 \(trained by SGD, StepLR\)"):
        one.load_state_dict(saved.state_dict())
    assert same_state(dict(one.network.state_dict()), dict(before))


@pytest.mark.parametrize("key", ["recipe", "state_dict", "optimizer", "param_schedulers", "random"])
def test_a_state_without_a_part_is_refused(key: str) -> None:
    state = peer().state_dict()
    del state[key]
    with pytest.raises(ICKDError, match=rf"holds another peer0 \(.*{key}"):
        peer().load_state_dict(state)


def test_a_network_that_leaves_out_a_buffer_of_its_own_state() -> None:
    one, other = peer(), peer()
    for each in (one, other):
        with_computed_buffer(each.network)
    one.learn(one.forward(batch())[0])
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    assert same_state(dict(other.network.state_dict()), dict(one.network.state_dict()))


@pytest.mark.parametrize(
    ("option", "value"),
    [("lr", "fast"), ("lr", None), ("momentum", [0.9]), ("foreach", torch.ones(2)), ("params", 3)],
)
def test_a_damaged_setting_is_refused(option: str, value: Any) -> None:
    """Torch takes any, and fails in the first step."""
    state = copy.deepcopy(trained(1).state_dict())
    state["optimizer"]["param_groups"][0][option] = value
    with pytest.raises(ICKDError, match=rf"holds another peer0 \(.*{option}"):
        peer().load_state_dict(state)


@pytest.mark.parametrize("damage", [torch.ones(3, 5, 7), "none", 3])
def test_a_damaged_state_of_a_weight_is_refused(damage: Any) -> None:
    kind = functools.partial(torch.optim.SGD, momentum=0.9)
    state = copy.deepcopy(trained(1, kind=kind).state_dict())
    state["optimizer"]["state"][0]["momentum_buffer"] = damage
    with pytest.raises(ICKDError, match=r"holds another peer0 \("):
        peer(kind=kind).load_state_dict(state)


@pytest.mark.parametrize(
    "damage",
    [
        dict(cpu=torch.zeros(3, dtype=torch.uint8)),
        dict(cpu=torch.ones(5056)),
        dict(cpu=3),
        [],
        None,
    ],
)
def test_a_damaged_generator_is_refused(damage: Any) -> None:
    with pytest.raises(ICKDError, match=r"holds another peer0 \("):
        peer().load_state_dict(dict(peer().state_dict(), random=damage))
