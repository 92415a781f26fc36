"""The dry run: one forward pass before training, and the messages if it fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, RepeatDataset, default_collate, pseudo_collate
from mmengine.model import BaseDataPreprocessor, ImgDataPreprocessor
from mmpretrain.models import ClsDataPreprocessor
from torch import nn

from mmickd.networks.dry_run import (
    dry_run,
    explain_failed_pass,
    explain_unreadable_labels,
    training_batch,
)
from mmickd.networks.taps import Tap
from mmickd.structures import Batch
from mmickd.tasks import ClassificationTask
from mmickd.utils.errors import ICKDError
from tests.helpers.task_cases import picture


class Net(nn.Module):
    """Classifier for images of 8x6 pixels, with a layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.data_preprocessor = ImgDataPreprocessor(mean=[1.0] * 3, std=[2.0] * 3)
        self.body, self.drop = nn.Linear(8 * 6 * 3, 5), nn.Dropout()
        self.norm, self.out, self.idle = nn.BatchNorm1d(5), nn.Linear(5, 4), nn.Linear(5, 7)
        self.runs = 0

    def forward(self, inputs: torch.Tensor, mode: str = "tensor") -> torch.Tensor:
        assert mode == "tensor"
        self.runs += 1
        return self.out(self.drop(self.norm(self.body(inputs.flatten(1)))))


def sample(height: int = 8) -> dict[str, Any]:
    return dict(inputs=torch.full((3, height, 6), 9, dtype=torch.uint8), data_samples=picture(0))


BATCH = Batch(torch.full((2, 3, 8, 6), 4.0), [picture(0), picture(1)])


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize("layer", ["auto", "out"])
@pytest.mark.parametrize("training", [True, False])
def test_the_classifier_layer_is_found_and_the_network_unchanged(
    layer: str, training: bool
) -> None:
    model = Net().train(training)
    model.norm.eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert dry_run(model, layer, (), BATCH) == ("out", 4)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert hooks(model) == 0 and model.runs > 0


def test_running_statistics_stay() -> None:
    model = Net().train()
    dry_run(model, "auto", (), BATCH)
    assert int(model.norm.num_batches_tracked) == 0


def test_a_usual_name_needs_no_search() -> None:
    model = Net()
    assert dry_run(model, "auto", ("nowhere", "out"), BATCH) == ("out", 4)
    assert model.runs == 2  # to compare, and for check_finite


@pytest.mark.parametrize("layer", ["idle", "norm", "nowhere"])
def test_a_layer_that_is_no_classifier_layer_is_refused(layer: str) -> None:
    words = {
        "idle": r"'idle'.*peer 1 .*'out'\. Set teacher\.layer",
        "norm": "BatchNorm1d",
        "nowhere": "Net has no layer 'nowhere'",
    }
    model = Net()
    with pytest.raises(ICKDError, match=words[layer]):
        dry_run(model, layer, (), BATCH, "peer 1", "teacher.layer")
    assert hooks(model) == 0


def test_a_usual_layer_that_does_not_run_is_skipped() -> None:
    assert dry_run(Net(), "auto", ("idle",), BATCH) == ("out", 4)


def test_a_sharded_network_does_not_run() -> None:
    """FSDP marks its modules with an attribute."""
    model = Net()
    model.body._is_fsdp_managed_module = True
    assert dry_run(model, "out", (), BATCH) == ("out", 4)
    assert dry_run(model, "auto", ("out",), BATCH) == ("out", 4)
    assert model.runs == 0
    with pytest.raises(ICKDError, match=r"FSDP.*layer"):
        dry_run(model, "auto", (), BATCH)


def test_images_that_a_network_cannot_process() -> None:
    batch = Batch(BATCH.inputs[..., 1:, :], [])
    with pytest.raises(ICKDError) as caught:
        dry_run(Net(), "out", (), batch, "peer 1", remedy="Give another.")
    message = str(caught.value)
    assert message.startswith("peer 1 cannot run on training images of 7x6 pixels (RuntimeError: ")
    assert message.endswith("). Give another.") and len(message) < 350
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    "explain",
    [
        lambda: explain_failed_pass("it", "images", (8, 6), "remedy"),
        lambda: explain_unreadable_labels([]),
    ],
)
@pytest.mark.parametrize("error", [ICKDError("text"), torch.OutOfMemoryError("CUDA out of memory")])
def test_errors_that_are_explained_or_for_lack_of_memory_pass(
    explain: Any, error: Exception
) -> None:
    with pytest.raises(type(error)) as caught, explain():
        raise error
    assert caught.value is error
    with explain():
        pass


def test_labels_that_cannot_be_read() -> None:
    match = r"^the labels of x/7\.png \(DataSample\) .*\(TypeError: text\)"
    with (
        pytest.raises(ICKDError, match=match),
        explain_unreadable_labels([picture(0, path="x/7.png")]),
    ):
        raise TypeError("text")


class Recording:
    """Transform that records the samples and has a random generator."""

    def __init__(self) -> None:
        self.indices: list[int] = []
        self.random = np.random.default_rng(0)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        self.indices.append(results["sample_idx"])
        value = int(self.random.integers(1, 200))
        inputs = torch.full((3, results.get("height", 8), 6), value, dtype=torch.uint8)
        name = f"{results['sample_idx']}.png"
        return dict(inputs=inputs, data_samples=picture(results["label"], path=name))


class Pictures(BaseDataset):
    """Data set with annotations in memory."""

    def load_data_list(self) -> list[dict[str, Any]]:
        return [dict(label=i % 3, **self.metainfo["more"]) for i in range(4)]


def pictures(**more: Any) -> Pictures:
    return Pictures(metainfo=dict(more=more), pipeline=[Recording()])


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: RepeatDataset(d, 2)])
@pytest.mark.parametrize("collate", [pseudo_collate, default_collate])
def test_a_training_batch_is_made_as_in_training_and_changes_nothing(
    wrap: Any, collate: Any
) -> None:
    data = pictures()
    transform = data.pipeline.transforms[0]
    before = transform.random.bit_generator.state
    student = Net().train()
    mixup = dict(augments=dict(type="Mixup", alpha=1.0))
    student.data_preprocessor = ClsDataPreprocessor(num_classes=3, batch_augments=mixup)
    batch = training_batch(student, wrap(data), collate, 2, accept)
    assert batch.inputs.shape == (2, 3, 8, 6) and batch.inputs.dtype == torch.float32
    assert [sample.img_path for sample in batch.data_samples] == ["0.png", "1.png"]
    assert "gt_score" in batch.data_samples[0]  # mixed, as in training
    assert transform.indices == [] and transform.random.bit_generator.state == before
    assert student.training and student.runs == 0


def accept(data_sample: Any, name: str) -> None:
    """Accept any data sample."""


class Refused(Pictures):
    """Data set whose first samples the pipeline refuses."""

    def __getitem__(self, index: int) -> Any:
        return None if index < 2 else super().__getitem__(index)


def test_refused_samples_are_skipped() -> None:
    data = Refused(metainfo=dict(more={}), pipeline=[Recording()])
    batch = training_batch(Net(), data, pseudo_collate, 1, accept)
    assert [sample.img_path for sample in batch.data_samples] == ["2.png"]
    assert len(training_batch(Net(), pictures(), pseudo_collate, 9, accept).data_samples) == 4


def test_a_batch_that_cannot_be_made() -> None:
    class Failing(Pictures):
        def prepare_data(self, index: int) -> Any:
            raise OSError("no such picture")

    failing = Failing(metainfo=dict(more=dict(img_path="x/1.png")), pipeline=[])
    with pytest.raises(ICKDError, match=r"x/1\.png of the training set cannot be read \(OSError"):
        training_batch(Net(), failing, pseudo_collate, 2, accept)
    with pytest.raises(ICKDError, match=r"set is empty.*train_dataloader\.dataset"):
        training_batch(Net(), [None, None], pseudo_collate, 2, accept)
    with pytest.raises(ICKDError, match=r"cannot make a batch of the first 2 .*data_preprocessor"):
        training_batch(Net(), [sample(8), 3], pseudo_collate, 2, accept)


def refuse(data_sample: Any, name: str) -> None:
    raise ICKDError(f"{name}: {type(data_sample).__name__}")


class Listed(list[Any]):
    """Data set with its annotations in a list, as mmpretrain's MultiTaskDataset."""

    data_list: list[Any]


def test_data_samples_are_checked_by_the_names_of_their_images() -> None:
    names: list[str] = []
    data = pictures(img_path="x/1.png")
    training_batch(Net(), data, pseudo_collate, 2, lambda _, name: names.append(name))
    assert names == ["x/1.png"] * 2
    data = Listed([sample(8), sample(8)])
    for data_list, name in (([dict(img_path="y.png")] * 2, "y.png"), ([], "sample 0")):
        data.data_list = data_list
        with pytest.raises(ICKDError, match=rf"^{name}: DataSample$"):
            training_batch(Net(), data, pseudo_collate, 2, refuse)


def test_an_unsuitable_label_is_named_if_the_batch_fails() -> None:
    with pytest.raises(ICKDError, match=r"^sample 0: DataSample$"):
        training_batch(Net(), [sample(8), sample(9)], pseudo_collate, 2, refuse)


def plain_net() -> Net:
    """Return a network that neither stacks nor normalises its inputs."""
    model = Net()
    model.data_preprocessor = BaseDataPreprocessor()
    return model


def test_labels_that_are_no_data_samples() -> None:
    """mmengine's tutorial has pairs of images and numbers."""

    data = [(torch.zeros(3, 8, 6), 1), (torch.zeros(3, 8, 6), 2)]
    with pytest.raises(ICKDError, match=r"sample 0 is of type Tensor.*PackInputs"):
        training_batch(plain_net(), data, default_collate, 2, ClassificationTask().check_sample)


def test_inputs_that_are_not_stacked() -> None:
    with pytest.raises(ICKDError, match=r"returns inputs of type list.*\(B, C, h, w\)"):
        training_batch(plain_net(), [sample(8), sample(8)], pseudo_collate, 2, accept)


def test_a_tap_reads_input_and_output_of_one_pass() -> None:
    model = Net().eval()
    tap, inputs = Tap(model, "out"), torch.randn(2, 3, 8, 6)
    tapped = tap.read(lambda: model(inputs), "the teacher", "teacher.layer")
    assert tapped.features.shape == (2, 5) and torch.equal(tapped.logits, model(inputs))
    assert tap.take() is None  # later passes are not recorded
    with pytest.raises(ICKDError, match=r"the teacher's layer 'out' .*teacher\.layer"):
        tap.read(lambda: None, "the teacher", "teacher.layer")
