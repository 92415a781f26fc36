"""One run of a network on a sample, and what is said if it cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, RepeatDataset, default_collate, pseudo_collate
from mmengine.model import BaseDataPreprocessor, ImgDataPreprocessor
from mmpretrain.models import ClsDataPreprocessor
from torch import nn

from mmickd.networks.dry_run import dry_run, explained, explained_labels, training_batch
from mmickd.networks.taps import Tap
from mmickd.structures import Batch
from mmickd.tasks import ClassificationTask
from mmickd.utils.errors import ICKDError
from tests.helpers.task_cases import picture


class Net(nn.Module):
    """A classifier of pictures of 8x6 pixels, with a layer that never runs."""

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
def test_the_classifier_is_found_or_given_and_the_network_stays_as_it_was(
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


def test_running_statistics_do_not_move() -> None:
    model = Net().train()
    dry_run(model, "auto", (), BATCH)
    assert int(model.norm.num_batches_tracked) == 0


def test_the_usual_name_comes_before_looking() -> None:
    model = Net()
    assert dry_run(model, "auto", ("nowhere", "out"), BATCH) == ("out", 4)
    assert model.runs == 2  # to compare, and to see that it is finite


@pytest.mark.parametrize("layer", ["idle", "norm", "nowhere"])
def test_a_layer_that_cannot_be_it_is_refused(layer: str) -> None:
    words = {
        "idle": r"Layer 'idle' does not give .*peer 1 .*is given by 'out'\. Set teacher\.layer",
        "norm": "BatchNorm1d is no classifier layer",
        "nowhere": "Net has no layer 'nowhere'",
    }
    model = Net()
    with pytest.raises(ICKDError, match=words[layer]):
        dry_run(model, layer, (), BATCH, "peer 1", "teacher.layer")
    assert hooks(model) == 0


def test_a_usual_name_that_does_not_run_is_passed_over() -> None:
    assert dry_run(Net(), "auto", ("idle",), BATCH) == ("out", 4)


def test_a_sharded_network_is_not_run() -> None:
    """Under FSDP a rank has a part of the weights; what marks a module is an attribute of it."""
    model = Net()
    model.body._is_fsdp_managed_module = True
    assert dry_run(model, "out", (), BATCH) == ("out", 4)
    assert dry_run(model, "auto", ("out",), BATCH) == ("out", 4)
    assert model.runs == 0
    with pytest.raises(ICKDError, match=r"sharded \(FSDP\).*set the hook's layer"):
        dry_run(model, "auto", (), BATCH)


def test_what_a_network_cannot_take_is_explained() -> None:
    with pytest.raises(ICKDError) as caught:
        dry_run(
            Net(), "out", (), Batch(BATCH.inputs[..., 1:, :], []), "peer 1", remedy="Give another."
        )
    message = str(caught.value)
    assert message.startswith("peer 1 cannot run on training images of 7x6 pixels (RuntimeError: ")
    assert message.endswith("). Give another.") and len(message) < 350
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_what_explains_itself_is_left_as_it_is() -> None:
    with pytest.raises(ICKDError, match=r"^own words$"), explained("it", "images", (8, 6), "r"):
        raise ICKDError("own words")
    with explained("it", "images", (8, 6), "r"):
        pass


def test_labels_that_cannot_be_read_are_told_from_the_network() -> None:
    with pytest.raises(ICKDError) as caught, explained_labels([picture(0, path="x/7.png")]):
        raise TypeError("no label of mine")
    message = str(caught.value)
    assert message.startswith("the labels of x/7.png (DataSample) cannot be read (TypeError: no")
    with pytest.raises(ICKDError, match=r"^own words$"), explained_labels([]):
        raise ICKDError("own words")
    with pytest.raises(torch.OutOfMemoryError), explained_labels([]):
        raise torch.OutOfMemoryError("CUDA out of memory")


class Keeping:
    """A transform that keeps what it meets and draws from a generator of its own."""

    def __init__(self) -> None:
        self.met: list[int] = []
        self.random = np.random.default_rng(0)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        self.met.append(results["sample_idx"])
        value = int(self.random.integers(1, 200))
        inputs = torch.full((3, results.get("height", 8), 6), value, dtype=torch.uint8)
        name = f"{results['sample_idx']}.png"
        return dict(inputs=inputs, data_samples=picture(results["label"], path=name))


class Pictures(BaseDataset):
    """Annotations in memory."""

    def load_data_list(self) -> list[dict[str, Any]]:
        return [dict(label=i % 3, **self.metainfo["more"]) for i in range(4)]


def pictures(**more: Any) -> Pictures:
    return Pictures(metainfo=dict(more=more), pipeline=[Keeping()])


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: RepeatDataset(d, 2)])
@pytest.mark.parametrize("collate", [pseudo_collate, default_collate])
def test_a_training_batch_is_made_as_in_training_and_nothing_is_touched(
    wrap: Any, collate: Any
) -> None:
    data = pictures()
    keeping = data.pipeline.transforms[0]
    before = keeping.random.bit_generator.state
    student = Net().train()
    mixup = dict(augments=dict(type="Mixup", alpha=1.0))
    student.data_preprocessor = ClsDataPreprocessor(num_classes=3, batch_augments=mixup)
    batch = training_batch(student, wrap(data), collate, 2, accept)
    assert batch.inputs.shape == (2, 3, 8, 6) and batch.inputs.dtype == torch.float32
    assert [sample.img_path for sample in batch.data_samples] == ["0.png", "1.png"]
    assert "gt_score" in batch.data_samples[0]  # mixed, as in training
    assert keeping.met == [] and keeping.random.bit_generator.state == before
    assert student.training and student.runs == 0


def accept(data_sample: Any, name: str) -> None:
    """Refuse no data sample."""


class Refused(Pictures):
    """Its first samples are refused by the pipeline."""

    def __getitem__(self, index: int) -> Any:
        return None if index < 2 else super().__getitem__(index)


def test_samples_that_are_refused_are_passed_over() -> None:
    data = Refused(metainfo=dict(more={}), pipeline=[Keeping()])
    batch = training_batch(Net(), data, pseudo_collate, 1, accept)
    assert [sample.img_path for sample in batch.data_samples] == ["2.png"]
    assert len(training_batch(Net(), pictures(), pseudo_collate, 9, accept).data_samples) == 4


def test_a_batch_that_cannot_be_made_is_explained() -> None:
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
    """A data set that keeps its annotations in a list, as mmpretrain's of several tasks."""

    data_list: list[Any]


def test_data_samples_are_checked_by_the_names_of_their_images() -> None:
    found: list[str] = []
    training_batch(
        Net(), pictures(img_path="x/1.png"), pseudo_collate, 2, lambda _, name: found.append(name)
    )
    assert found == ["x/1.png"] * 2
    data = Listed([sample(8), sample(8)])
    for data_list, name in (([dict(img_path="y.png")] * 2, "y.png"), ([], "sample 0")):
        data.data_list = data_list
        with pytest.raises(ICKDError, match=rf"^{name}: DataSample$"):
            training_batch(Net(), data, pseudo_collate, 2, refuse)


def test_a_label_that_no_batch_can_be_made_of_is_named_before_the_batch() -> None:
    with pytest.raises(ICKDError, match=r"^sample 0: DataSample$"):
        training_batch(Net(), [sample(8), sample(9)], pseudo_collate, 2, refuse)


def test_labels_that_are_no_data_samples() -> None:
    """As in mmengine's tutorial: pairs of images and numbers."""

    class Pairs(Net):
        def __init__(self) -> None:
            super().__init__()
            self.data_preprocessor = BaseDataPreprocessor()

    data = [(torch.zeros(3, 8, 6), 1), (torch.zeros(3, 8, 6), 2)]
    with pytest.raises(ICKDError, match=r"sample 0 is of type Tensor.*PackInputs"):
        training_batch(Pairs(), data, default_collate, 2, ClassificationTask().check_sample)


def test_inputs_that_are_not_stacked() -> None:
    class Lists(Net):
        def __init__(self) -> None:
            super().__init__()
            self.data_preprocessor = BaseDataPreprocessor()

    with pytest.raises(ICKDError, match=r"gives inputs of type list.*\(B, C, h, w\)"):
        training_batch(Lists(), [sample(8), sample(8)], pseudo_collate, 2, accept)


def test_one_run_gives_input_and_output_of_the_layer() -> None:
    model = Net().eval()
    tap, inputs = Tap(model, "out"), torch.randn(2, 3, 8, 6)
    found = tap.read(lambda: model(inputs), "the teacher", "teacher.layer")
    assert found.features.shape == (2, 5) and torch.equal(found.logits, model(inputs))
    assert tap.take() is None  # taken, and what runs later is not recorded
    with pytest.raises(ICKDError, match=r"the teacher's layer 'out' does not run"):
        tap.read(lambda: None, "the teacher", "teacher.layer")
