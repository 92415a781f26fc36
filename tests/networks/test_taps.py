"""Taps: reading the input and output of a layer."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmickd.networks.taps import LocalHook, Tap, evaluating, leaf_names, out_width, require_layer
from mmickd.utils.errors import ICKDError
from tests.helpers.nets import Net


def test_evaluating_calls_train_and_restores_each_module():
    """Some networks prepare tensors in train(False) and delete them in train(True)."""
    calls = []

    class Prepares(Net):
        def train(self, mode=True):
            calls.append(mode)
            return super().train(mode)

    model = nn.Sequential(Prepares(), nn.Dropout())
    model[0].aux.eval()
    modes = [m.training for m in model.modules()]
    with evaluating(model):
        assert not any(m.training for m in model.modules())
    assert calls == [False, True]
    assert [m.training for m in model.modules()] == modes and not model[0].aux.training


def test_an_unknown_layer_is_refused_with_similar_or_last_names():
    model = Net()
    assert require_layer(model, "out") is model.out
    with pytest.raises(ICKDError, match=r"'outt'.*'out'"):
        Tap(model, "outt")
    with pytest.raises(ICKDError, match=r"'zzzzzzzz'.*body, out, aux"):
        Tap(model, "zzzzzzzz")
    with pytest.raises(ICKDError, match="ReLU"):
        out_width(nn.ReLU())
    assert leaf_names(model) == ["body", "out", "aux"]


def test_a_tap_is_disarmed_after_a_failed_pass():
    model = Net()
    tap = Tap(model, "out")

    def fail():
        model(torch.randn(1, 4))
        raise OSError

    with pytest.raises(OSError):
        tap.read(fail, "the model", "layer")
    model(torch.randn(1, 4))
    assert tap.take() is None


def test_a_squeezed_batch_of_one_gets_its_batch_axis_back():
    """LeNet5 of mmpretrain passes a vector to its classifier."""
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    inputs = torch.randn(2, 4)
    for layer in ("2", "1"):  # the classifier layer, and a feature layer
        tap = Tap(model, layer)
        alone = tap.read(lambda: model(inputs[:1].squeeze()), "the model", "layer")
        both = tap.read(lambda: model(inputs), "the model", "layer")
        assert alone.features.shape[0] == alone.logits.shape[0] == 1
        assert torch.allclose(alone.features, both.features[:1])
        assert torch.allclose(alone.logits, both.logits[:1])


def test_a_tap_records_only_while_armed():
    model = Net()
    tap = Tap(model, "out")
    model(torch.randn(1, 4))
    assert tap.take() is None
    tap.arm()
    first, second = model(torch.randn(1, 4)), model(torch.randn(2, 4))
    assert tap.take().logits is second and first is not second
    assert tap.take() is None
    model(torch.randn(1, 4))
    assert tap.take() is None  # take() disarms
    tap.arm()
    model(torch.randn(1, 4))
    tap.arm()  # arm() deletes the recording
    assert tap.take() is None
    tap.close()
    tap.arm()
    model(torch.randn(1, 4))
    assert tap.take() is None and not model.out._forward_hooks


@pytest.mark.parametrize("reentrant", [True, False])
def test_the_second_run_of_activation_checkpointing_is_ignored(reentrant):
    model = Net()
    tap = Tap(model, "out")
    x = torch.randn(2, 4, requires_grad=True)
    tap.arm()
    output = checkpoint(model, x, use_reentrant=reentrant)
    tapped = tap.take()
    assert torch.equal(tapped.logits, output)
    output.sum().backward()  # the layer runs again
    assert tap.take() is None
    assert x.grad is not None


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_has_no_hook(clone):
    model = Net()
    tap = Tap(model, "out")
    twin = clone(model)
    hooks = list(twin.out._forward_hooks.values())
    assert not any(isinstance(hook, LocalHook) for hook in hooks)
    tap.arm()
    twin(torch.randn(2, 4))
    assert tap.take() is None  # only the copy ran
    tap.arm()
    model(torch.randn(2, 4))
    assert tap.take() is not None


def test_a_hooked_model_can_be_saved_whole():
    model = Net()
    Tap(model, "out")
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    twin = torch.load(buffer, weights_only=False)
    x = torch.randn(2, 4)
    assert torch.equal(twin(x), model(x))


class Wrapper(nn.Module):
    """Module that inserts a component into names, as the wrappers of torch do."""

    def __init__(self, inner, component):
        super().__init__()
        setattr(self, component, inner)
        self.component = component

    def forward(self, *args, **kwargs):
        return getattr(self, self.component)(*args, **kwargs)


@pytest.mark.parametrize(
    "component", ["_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod"]
)
def test_names_work_without_the_components_of_wrappers(component):
    model = Net()
    inner = model.out
    model.out = Wrapper(inner, component)
    model.body = Wrapper(model.body, component)
    assert require_layer(model, "out") is inner
    tap = Tap(model, "out")
    assert tap.num_classes == 3
    tap.arm()
    output = model(torch.randn(2, 4))
    assert tap.take().logits is output
    assert leaf_names(model) == ["body", "out", "aux"]


def test_the_checkpoint_wrapper_of_torch():
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    model = Net()
    model.out = checkpoint_wrapper(model.out)
    tap = Tap(model, "out")
    tap.arm()
    output = model(torch.randn(2, 4))
    tapped = tap.take()
    assert torch.equal(tapped.logits, output)
    output.sum().backward()
    assert tap.take() is None
