"""One run of a network on a sample, and what is said if it cannot."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.model import ImgDataPreprocessor
from torch import nn

from mmickd.probing import batch_of, explained, probe_network
from mmickd.taps import Tap
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


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_a_batch_of_a_sample_is_a_copy_of_it() -> None:
    """Preprocessors may change what they get."""
    one = sample()
    batch = batch_of(one)
    assert torch.equal(batch["inputs"][0], one["inputs"]) and len(batch["data_samples"]) == 1
    batch["inputs"][0].zero_()
    batch["data_samples"][0].set_gt_label(3)
    assert bool((one["inputs"] == 9).all()) and int(one["data_samples"].gt_label) == 0


@pytest.mark.parametrize("layer", ["auto", "out"])
@pytest.mark.parametrize("training", [True, False])
def test_the_classifier_is_found_or_given_and_the_network_stays_as_it_was(
    layer: str, training: bool
) -> None:
    model = Net().train(training)
    model.norm.eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert probe_network(model, layer, (), sample()) == ("out", 4)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert hooks(model) == 0 and model.runs > 0


def test_running_statistics_do_not_move() -> None:
    model = Net().train()
    probe_network(model, "auto", (), sample())
    assert int(model.norm.num_batches_tracked) == 0


def test_the_usual_name_comes_before_looking() -> None:
    model = Net()
    assert probe_network(model, "auto", ("nowhere", "out"), sample()) == ("out", 4)
    assert model.runs == 1


@pytest.mark.parametrize("layer", ["idle", "norm", "nowhere"])
def test_a_layer_that_cannot_be_it_is_refused(layer: str) -> None:
    words = {
        "idle": r"peer 1's layer 'idle' does not run in its forward pass\. Set teacher\.layer",
        "norm": "BatchNorm1d is no classifier layer",
        "nowhere": "Net has no layer 'nowhere'",
    }
    model = Net()
    with pytest.raises(ICKDError, match=words[layer]):
        probe_network(model, layer, (), sample(), "peer 1", "teacher.layer")
    assert hooks(model) == 0


def test_a_usual_name_that_does_not_run_is_refused_with_the_option() -> None:
    with pytest.raises(ICKDError, match=r"the student's layer 'idle' does not run.*Set layer to"):
        probe_network(Net(), "auto", ("idle",), sample())


def test_a_sharded_network_is_not_run() -> None:
    """Under FSDP a rank has a part of the weights; what marks a module is an attribute of it."""
    model = Net()
    model.body._is_fsdp_managed_module = True
    assert probe_network(model, "out", (), sample()) == ("out", 4)
    assert probe_network(model, "auto", ("out",), sample()) == ("out", 4)
    assert model.runs == 0
    with pytest.raises(ICKDError, match=r"sharded \(FSDP\).*set the hook's layer"):
        probe_network(model, "auto", (), sample())


def test_what_a_network_cannot_take_is_explained() -> None:
    one = sample(height=7)
    with pytest.raises(ICKDError) as caught, explained("peer 1", one, "Give another."):
        probe_network(Net(), "out", (), one)
    message = str(caught.value)
    assert message.startswith("peer 1 cannot run on a training image of 7x6 pixels (RuntimeError: ")
    assert message.endswith("). Give another.") and len(message) < 350
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_what_explains_itself_is_left_as_it_is() -> None:
    with pytest.raises(ICKDError, match=r"^own words$"), explained("peer 1", sample(), "remedy"):
        raise ICKDError("own words")
    with explained("peer 1", sample(), "remedy"):
        pass


def test_one_run_gives_input_and_output_of_the_layer() -> None:
    model = Net().eval()
    tap, inputs = Tap(model, "out"), torch.randn(2, 3, 8, 6)
    found = tap.read(lambda: model(inputs), "the teacher", "teacher.layer")
    assert found.features.shape == (2, 5) and torch.equal(found.logits, model(inputs))
    assert tap.take() is None  # taken, and what runs later is not recorded
    with pytest.raises(ICKDError, match=r"the teacher's layer 'out' does not run"):
        tap.read(lambda: None, "the teacher", "teacher.layer")
