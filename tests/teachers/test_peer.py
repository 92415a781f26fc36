"""A peer: its losses, its random numbers, its optimizer, and its state."""

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
from mmickd.teachers.normalization import InputConverter
from mmickd.teachers.peer import Peer
from mmickd.utils.errors import ICKDError
from tests.helpers.teachers import with_computed_buffer
from tests.helpers.toys import same_state

CLASSES = 3


class Net(BaseModel):
    """Classifier with dropout, whose targets are its data samples."""

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


def make_peer(
    seed: int = 0,
    kind: type[torch.optim.Optimizer] = torch.optim.SGD,
    width: int = 6,
    **wrapper: Any,
) -> Peer:
    """Return a peer, always with the same weights; ``seed`` sets its random numbers."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = Net(width)
    converter = InputConverter.between(network, network)
    optim_wrapper = OptimWrapper(kind(network.parameters(), lr=0.1), **wrapper)
    schedulers = [
        StepLR(optim_wrapper, step_size=1, gamma=0.5, by_epoch=True),
        LinearLR(optim_wrapper, start_factor=0.5, end=4, by_epoch=False),
    ]
    return Peer("peer0", network, optim_wrapper, schedulers, "out", converter, seed)


def batch(seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(4, 3, 2, 2, generator=g), [0, 1, 2, 0])


def next_logits(peer: Peer, count: int = 3) -> list[Tensor]:
    """Return the logits of the next steps, which dropout makes random."""
    return [peer.forward(batch())[1].logits.detach() for _ in range(count)]


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_forward_returns_losses_features_and_logits() -> None:
    losses, tapped = make_peer().forward(batch())
    expected = nn.functional.cross_entropy(tapped.logits, torch.tensor(batch().data_samples))
    assert torch.equal(losses["loss"], expected) and tapped.logits.requires_grad
    assert tapped.features.shape == (4, 6) and tapped.logits.shape == (4, CLASSES)


def test_the_students_random_state_is_unchanged() -> None:
    before = torch.get_rng_state()
    peer = make_peer()
    losses, _ = peer.forward(batch())
    peer.learn(losses)
    assert torch.equal(torch.get_rng_state(), before)


def test_random_numbers_are_independent_of_the_students() -> None:
    torch.manual_seed(1)
    alone = next_logits(make_peer())
    beside, logits = make_peer(), []
    for seed in range(3):
        torch.manual_seed(seed)
        torch.rand(seed)
        logits += next_logits(beside, 1)
    assert equal(logits, alone)


def test_random_numbers_differ_by_step_and_seed() -> None:
    first, second, _ = next_logits(make_peer())
    assert not torch.equal(first, second)
    assert not torch.equal(first, next_logits(make_peer(seed=1))[0])


def test_an_error_does_not_reset_random_numbers() -> None:
    peer, other = make_peer(), make_peer()
    next_logits(other, 1)
    with pytest.raises(IndexError):
        peer.forward(Batch(batch().inputs, [0, 1, 2, 9]))  # a label that is no class
    assert equal(next_logits(peer, 1), next_logits(other, 1))


def test_learn_makes_a_step_of_the_optimizer() -> None:
    peer = make_peer()
    losses, _ = peer.forward(batch())
    weights = list(peer.network.parameters())
    before = [value.detach().clone() for value in weights]
    gradients = torch.autograd.grad(losses["loss"], weights, retain_graph=True)
    logged = peer.learn(losses)
    assert list(logged) == ["peer0.loss"] and torch.equal(logged["peer0.loss"], losses["loss"])
    for value, old, gradient in zip(weights, before, gradients, strict=True):
        assert torch.allclose(value, old - 0.05 * gradient)  # the warm-up halves the rate of 0.1


def test_only_losses_are_added_up() -> None:
    peer = make_peer()
    task = peer.forward(batch())[0]["loss"]
    logged = peer.learn(dict(loss_ce=task, loss_kd=torch.tensor(2.0), kd_sim=torch.tensor(9.0)))
    assert set(logged) == {f"peer0.{name}" for name in ("loss", "loss_ce", "loss_kd", "kd_sim")}
    assert torch.allclose(logged["peer0.loss"], task + 2.0)


def test_schedulers_step_by_iteration_or_by_epoch() -> None:
    peer = make_peer()
    peer.learn(peer.forward(batch())[0])

    def rate() -> float:
        return peer.optim_wrapper.get_lr()["lr"][0]

    start = rate()
    peer.step_schedulers(by_epoch=True)
    assert rate() == pytest.approx(start / 2)
    peer.step_schedulers(by_epoch=False)  # of 4 steps from 1/2 to 1, the first
    assert rate() == pytest.approx(start / 2 * (0.5 + 0.5 / 3) / 0.5)


def test_precision_is_independent_of_the_students_autocast() -> None:
    peer, other = make_peer(), make_peer()
    with torch.autocast("cpu", torch.bfloat16):
        losses, tapped = peer.forward(batch())
        peer.learn(losses)
    assert tapped.logits.dtype == torch.float32 and equal([tapped.logits], next_logits(other, 1))


def test_validation_restores_the_training_mode() -> None:
    class Evaluator:
        """Evaluator that records the predictions."""

        def __init__(self) -> None:
            self.predictions: list[Tensor] = []

        def process(self, data_samples: Any, data_batch: Any) -> None:
            self.predictions.append(data_samples)

        def evaluate(self, size: int) -> dict[str, Any]:
            return {"size": size, "batches": len(self.predictions)}

    class Loader(list):
        dataset = range(7)

    peer, evaluator = make_peer(), Evaluator()
    peer.network.norm.eval()
    data = dict(inputs=[torch.zeros(3, 2, 2, dtype=torch.uint8)] * 4, data_samples=None)
    before = copy.deepcopy(peer.network.state_dict())
    metrics = peer.validate(Loader([data, data]), evaluator)
    assert metrics == {"peer0.size": 7, "peer0.batches": 2}
    assert torch.equal(evaluator.predictions[0], evaluator.predictions[1])  # without dropout
    assert same_state(dict(peer.network.state_dict()), dict(before))
    assert peer.network.training and not peer.network.norm.training
    peer.forward(batch())
    assert peer.network.norm.training


def test_gradient_norms_are_logged_by_the_peers_name() -> None:
    hub = MessageHub.get_instance("peer-test")
    peer = make_peer(clip_grad=dict(max_norm=1.0))
    peer.optim_wrapper.message_hub._hub = hub
    peer.learn(peer.forward(batch())[0])
    assert list(hub.log_scalars) == ["train/peer0.grad_norm"]


def trained(steps: int, **options: Any) -> Peer:
    peer = make_peer(**options)
    for step in range(steps):
        peer.learn(peer.forward(batch(step))[0])
        peer.step_schedulers(by_epoch=False)
        peer.step_schedulers(by_epoch=step % 2 == 1)
    return peer


def test_a_restored_peer_continues_bit_for_bit() -> None:
    first, second = trained(3), make_peer(seed=5)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for peer in (first, second):
        peer.learn(peer.forward(batch(9))[0])
        peer.step_schedulers(by_epoch=False)
    states = [peer.state_dict() for peer in (first, second)]
    assert same_state(*(dict(state["state_dict"]) for state in states))
    assert torch.equal(*(state["random"]["cpu"] for state in states))
    assert first.optim_wrapper.get_lr() == second.optim_wrapper.get_lr()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            lambda: make_peer(kind=torch.optim.AdamW),
            r"holds another peer0 \(.*trained by AdamW, StepLR, LinearLR",
        ),
        (lambda: make_peer(width=7), r"holds another peer0 \(.*of shape"),
    ],
    ids=["recipe", "network"],
)
def test_a_state_of_another_peer_is_refused(other: Any, words: str) -> None:
    with pytest.raises(ICKDError, match=words):
        make_peer().load_state_dict(other().state_dict())


def test_a_state_of_other_schedulers_is_refused_before_anything_is_loaded() -> None:
    peer, saved = make_peer(), trained(2)
    saved.param_schedulers.pop()
    before = copy.deepcopy(peer.state_dict()["state_dict"])
    with pytest.raises(ICKDError, match=r"holds another peer0 \(trained by SGD, StepLR\)"):
        peer.load_state_dict(saved.state_dict())
    assert same_state(dict(peer.network.state_dict()), dict(before))


@pytest.mark.parametrize("key", ["recipe", "state_dict", "optimizer", "param_schedulers", "random"])
def test_a_state_without_a_part_is_refused(key: str) -> None:
    state = make_peer().state_dict()
    del state[key]
    with pytest.raises(ICKDError, match=rf"holds another peer0 \(.*{key}"):
        make_peer().load_state_dict(state)


def test_a_network_that_does_not_load_its_computed_buffer() -> None:
    peer, other = make_peer(), make_peer()
    for network in (peer.network, other.network):
        with_computed_buffer(network)
    peer.learn(peer.forward(batch())[0])
    other.load_state_dict(copy.deepcopy(peer.state_dict()))
    assert same_state(dict(other.network.state_dict()), dict(peer.network.state_dict()))


@pytest.mark.parametrize(
    ("option", "value"),
    [("lr", "fast"), ("lr", None), ("momentum", [0.9]), ("foreach", torch.ones(2)), ("params", 3)],
)
def test_a_damaged_setting_is_refused(option: str, value: Any) -> None:
    """torch would load it, and fail in the first step."""
    state = copy.deepcopy(trained(1).state_dict())
    state["optimizer"]["param_groups"][0][option] = value
    with pytest.raises(ICKDError, match=rf"holds another peer0 \(.*{option}"):
        make_peer().load_state_dict(state)


@pytest.mark.parametrize("damage", [torch.ones(3, 5, 7), "none", 3])
def test_a_damaged_state_of_a_weight_is_refused(damage: Any) -> None:
    kind = functools.partial(torch.optim.SGD, momentum=0.9)
    state = copy.deepcopy(trained(1, kind=kind).state_dict())
    state["optimizer"]["state"][0]["momentum_buffer"] = damage
    with pytest.raises(ICKDError, match=r"holds another peer0 \("):
        make_peer(kind=kind).load_state_dict(state)


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
        make_peer().load_state_dict(dict(make_peer().state_dict(), random=damage))
