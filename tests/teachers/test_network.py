"""A teacher of one network: when it runs, its inputs and outputs, its state."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.model import ImgDataPreprocessor
from torch import Tensor, nn

from mmickd.banks import QueueBank
from mmickd.retrieval import TorchRetriever
from mmickd.retrieval.memory import Memory
from mmickd.structures import Batch, Samples, Tapped
from mmickd.tasks import ClassificationTask
from mmickd.teachers import NetworkTeacher
from mmickd.utils.errors import ICKDError, OptionError
from tests.helpers.teachers import data_sample, dry_run, run_context

SIZE, WIDTH, CLASSES = 4, 5, 3


class Net(nn.Module):
    """Classifier that counts its forward passes."""

    def __init__(self, mean: float = 0.0) -> None:
        super().__init__()
        self.data_preprocessor = ImgDataPreprocessor(mean=[mean] * 3, std=[1.0] * 3)
        self.body, self.out = nn.Linear(3 * SIZE * SIZE, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.drop, self.runs = nn.Dropout(), 0

    def forward(self, inputs: Tensor, mode: str = "tensor") -> Tensor:
        assert mode == "tensor"
        self.runs += 1
        return self.out(self.drop(self.body(inputs.flatten(1))))


class GivenTeacher(NetworkTeacher):
    """Teacher with a ready network; a number is its state."""

    number = 0

    def __init__(self, network: nn.Module, **options: Any) -> None:
        super().__init__(**options)
        self.network = network

    def make_network(self, run: Any) -> nn.Module:
        return self.network

    def own_state(self) -> dict[str, Any]:
        return {"number": self.number}

    def load_own_state(self, state: dict[str, Any]) -> None:
        self.number = state["number"]


def built(network: Net | None = None, student: nn.Module | None = None) -> GivenTeacher:
    teacher = GivenTeacher(network or Net())
    teacher.build(run_context(student or nn.Module()))
    return teacher


def opened(network: Net | None = None, student: nn.Module | None = None) -> GivenTeacher:
    """Return a teacher before the first step."""
    teacher = built(network, student)
    dry_run(teacher, size=SIZE)
    teacher.open(make_memory, None)
    teacher.model.runs = 0
    return teacher


def make_memory(width: int) -> Memory:
    return Memory({"image": QueueBank(CLASSES, 2, width)}, TorchRetriever())


def batch(seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(2, 3, SIZE, SIZE, generator=g), [])


STUDENT = Tapped(torch.zeros(2, 1), torch.zeros(2, CLASSES))


def test_the_network_runs_once_for_several_calls_of_outputs() -> None:
    teacher = opened()
    (source,) = teacher.forward(batch(), STUDENT)
    first, second = source.outputs(), source.outputs()
    assert teacher.model.runs == 1 and first is second
    (source,) = teacher.forward(batch(1), STUDENT)  # another step
    assert not torch.equal(source.outputs().logits, first.logits)
    assert teacher.model.runs == 2


def test_the_network_does_not_run_without_a_call_of_outputs() -> None:
    teacher = opened()
    for seed in range(3):
        teacher.forward(batch(seed), STUDENT)
        assert teacher.after_step(nn.Module(), ends_epoch=False) == {}
    assert teacher.model.runs == 0


def test_a_source_has_the_teachers_task_and_memory() -> None:
    teacher = opened()
    (source,) = teacher.forward(batch(), STUDENT)
    assert source.memory is teacher.memory and source.memory_outputs is None
    assert isinstance(source.task, ClassificationTask) and not teacher.peer_steps()


def test_outputs_are_features_and_logits_in_eval_without_gradients() -> None:
    network = Net().train()
    teacher = opened(network)
    inputs = batch().inputs.requires_grad_()
    (source,) = teacher.forward(Batch(inputs, []), STUDENT)
    outputs = source.outputs()
    with torch.no_grad():
        features = network.body(inputs.flatten(1))
        assert torch.equal(outputs.features, features)
        assert torch.equal(outputs.logits, network.out(features))
    assert not outputs.logits.requires_grad and not outputs.features.requires_grad
    assert not any(p.requires_grad for p in network.parameters())


def test_inputs_are_normalised_as_by_the_teachers_preprocessor() -> None:
    network, student = Net(mean=5.0), Net(mean=2.0)
    teacher = opened(network, student)
    (source,) = teacher.forward(batch(), STUDENT)
    with torch.no_grad():
        expected = network.out(network.body((batch().inputs + 2.0 - 5.0).flatten(1)))
    assert torch.allclose(source.outputs().logits, expected, atol=1e-6)


def test_the_dry_run_finds_layer_classes_and_width() -> None:
    teacher, widths = built(), []
    dry_run(teacher, size=SIZE)
    teacher.open(lambda width: widths.append(width) or make_memory(width), None)
    assert teacher.layers == "out" and teacher.class_counts == {"the teacher": CLASSES}
    assert widths == [WIDTH] and list(teacher.memories) == ["teacher"]


def test_images_that_the_network_cannot_process() -> None:
    teacher = built()
    with pytest.raises(ICKDError, match=r"cannot run on training images of 7x7 pixels"):
        dry_run(teacher, size=7)
    dry_run(teacher, size=SIZE)
    image = dict(inputs=torch.zeros(3, 9, 7), data_samples=data_sample("mmpretrain"))
    with pytest.raises(ICKDError, match=r"cannot run .* of 9x7 .*bank\.pipeline"):
        teacher.view_of_bank_images([image])
    teacher.view_of_bank_images([dict(image, inputs=torch.zeros(3, SIZE, SIZE))])


def test_images_that_the_data_preprocessor_cannot_process() -> None:
    teacher = built()
    dry_run(teacher, size=SIZE)
    image = dict(inputs=torch.zeros(4, SIZE, SIZE), data_samples=data_sample("mmpretrain"))
    with pytest.raises(ICKDError, match=r"data_preprocessor cannot run .*teacher\.cfg"):
        teacher.view_of_bank_images([image])


def test_the_states_of_network_and_queues_are_saved_together() -> None:
    teacher, other = opened(), opened()
    teacher.number = 3
    rows = Samples(
        torch.eye(2, WIDTH), torch.ones(2, CLASSES), torch.tensor([0, 2]), torch.arange(2)
    )
    teacher.memory.stage("image", rows)
    teacher.memory.feed()
    state = teacher.state_dict()
    assert set(state) == {"teacher", "banks"} and teacher.state_key in state
    other.load_state_dict(state)
    assert other.number == 3
    for name, value in teacher.memory.banks["image"].state_dict().items():
        assert torch.equal(other.memory.banks["image"].state_dict()[name], value)


@pytest.mark.parametrize(
    ("options", "name"),
    [(dict(layer=None), "layer"), (dict(layer=3), "layer"), (dict(dtype="fp64"), "dtype")],
)
def test_options_are_checked(options: dict[str, Any], name: str) -> None:
    with pytest.raises(OptionError) as caught:
        GivenTeacher(Net(), **options)
    assert caught.value.name == name


def test_the_fingerprint_changes_with_every_weight_only() -> None:
    torch.manual_seed(0)
    network = Net()
    first = opened(network)
    before = first.fingerprint()
    network.runs = 99
    assert first.fingerprint() == before == opened(network).fingerprint()
    for value in network.state_dict().values():
        value.view(-1)[0] += 1e-3
        after = first.fingerprint()
        assert after["teacher_weights"] != before["teacher_weights"]
        assert {**after, "teacher_weights": ""} == {**before, "teacher_weights": ""}
        before = after
