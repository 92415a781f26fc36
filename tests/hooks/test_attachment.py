"""Attachment to the forward pass of an unmodified model."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmickd.hooks.attachment import Attachment
from mmickd.structures import Batch, Tapped
from mmickd.utils.errors import ICKDError


class Net(nn.Module):
    """Classifier as mmengine's runners train them."""

    def __init__(self, reentrant: bool | None = None) -> None:
        super().__init__()
        self.body, self.out, self.idle = nn.Linear(4, 5), nn.Linear(5, 3), nn.Linear(5, 3)
        self.reentrant = reentrant

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        features = self.body(inputs)
        if self.reentrant is None:
            logits = self.out(features)
        else:  # input without gradients, as where everything below is frozen
            logits = checkpoint(self.out, features.detach(), use_reentrant=self.reentrant)
        if mode == "loss":
            return dict(loss=logits.square().mean())
        return [int(row.argmax()) for row in logits] if mode == "predict" else logits


class Steps:
    """Step function that records its calls and adds a loss."""

    def __init__(self) -> None:
        self.calls: list[tuple[Batch, Tapped, dict[str, Any]]] = []

    def __call__(self, batch: Batch, tapped: Tapped, losses: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((batch, tapped, losses))
        return dict(losses, loss_kd=tapped.logits.sum())


INPUTS, LABELS = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)), [0, 2]


def hooks(model: nn.Module) -> int:
    modules = list(model.modules())
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model(inputs=INPUTS, data_samples=LABELS, mode="loss"),
        lambda model: model(INPUTS, LABELS, mode="loss"),
        lambda model: model(INPUTS, LABELS, "loss"),
        lambda model: model(INPUTS, data_samples=LABELS, mode="loss"),
    ],
    ids=["by name", "by place", "all by place", "mixed"],
)
def test_a_training_step_returns_the_changed_losses(call: Callable[[nn.Module], Any]) -> None:
    model, steps = Net(), Steps()
    Attachment(model, "out", steps)
    losses = call(model)
    ((batch, tapped, before),) = steps.calls
    assert batch.inputs is INPUTS and batch.data_samples is LABELS
    assert torch.equal(tapped.features, model.body(INPUTS))
    assert torch.equal(tapped.logits, model.out(model.body(INPUTS)))
    assert set(before) == {"loss"} and losses["loss"] is before["loss"]
    losses["loss_kd"].backward()
    assert bool((model.body.weight.grad != 0).any())  # through the layer into the student


@pytest.mark.parametrize(
    ("training", "mode"),
    [(True, "tensor"), (True, "predict"), (False, "tensor"), (False, "predict"), (False, "loss")],
)
def test_other_modes_of_the_model_are_unchanged(training: bool, mode: str) -> None:
    model, steps = Net().train(training), Steps()
    expected = model(INPUTS, LABELS, mode)
    Attachment(model, "out", steps)
    output = model(INPUTS, LABELS, mode)
    assert steps.calls == []
    assert torch.equal(output, expected) if mode == "tensor" else output == expected
    assert isinstance(model(INPUTS), Tensor)  # 'tensor' is the default


def test_other_forward_passes_are_no_steps() -> None:
    model, steps = Net(), Steps()
    Attachment(model, "out", steps)
    model(torch.zeros(7, 4))
    model(INPUTS, LABELS, "loss")
    model.eval()
    model(torch.zeros(7, 4), None, "predict")
    model.train()
    model(INPUTS, LABELS, "loss")
    assert [len(tapped.logits) for _, tapped, _ in steps.calls] == [2, 2]


def test_a_detached_model_is_unchanged() -> None:
    model, steps = Net(), Steps()
    attachment = Attachment(model, "out", steps)
    assert hooks(model) == 3
    attachment.detach()
    assert hooks(model) == 0
    assert set(model(INPUTS, LABELS, "loss")) == {"loss"} and steps.calls == []


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_of_the_model_is_not_attached(clone: Callable[[nn.Module], nn.Module]) -> None:
    model, steps = Net(), Steps()
    Attachment(model, "out", steps)
    twin = clone(model)
    assert set(twin(INPUTS, LABELS, "loss")) == {"loss"} and steps.calls == []
    model(INPUTS, LABELS, "loss")
    assert len(steps.calls) == 1


def test_a_layer_that_does_not_run_is_named() -> None:
    model = Net()
    Attachment(model, "idle", Steps())
    with pytest.raises(ICKDError, match=r"layer 'idle' did not run in its training step.*hook's"):
        model(INPUTS, LABELS, "loss")
    with pytest.raises(ICKDError, match="Net has no layer 'uot'"):
        Attachment(Net(), "uot", Steps())


def test_a_layer_without_gradients_is_named_where_gradients_are_wanted() -> None:
    model, steps = Net(reentrant=True), Steps()
    Attachment(model, "out", steps)
    with pytest.raises(ICKDError, match=r"layer 'out' ran without gradients.*use_reentrant=False"):
        model(INPUTS, LABELS, "loss")
    assert steps.calls == []
    with torch.no_grad():
        model(INPUTS, LABELS, "loss")
    assert len(steps.calls) == 1


def test_checkpointing_that_is_not_reentrant_keeps_the_gradients() -> None:
    model, steps = Net(reentrant=False), Steps()
    Attachment(model, "out", steps)
    losses = model(INPUTS, LABELS, "loss")
    sum(losses.values()).backward()  # runs the layer once more
    assert len(steps.calls) == 1 and bool((model.out.weight.grad != 0).any())
