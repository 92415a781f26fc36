"""Finding and reading the last classifier layer."""

import copy
import io
import pickle

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmickd.taps import (
    LocalHook,
    Tap,
    evaluating,
    find_classifier,
    leaf_names,
    out_width,
    require_layer,
)
from mmickd.tasks import kind_of_task
from mmickd.teachers.models import model_config, without_initialisation
from mmickd.utils.config import load_config
from mmickd.utils.errors import ICKDError
from tests.helpers.teachers import look, stub

SEGMENTERS = {
    "deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py": "decode_head.conv_seg",
    "ocrnet/ocrnet_hr18_4xb2-40k_cityscapes-512x1024.py": "decode_head.1.conv_seg",
    "hrnet/fcn_hr18_4xb2-40k_cityscapes-512x1024.py": "decode_head.conv_seg",
    "unet/unet-s5-d16_deeplabv3_4xb4-40k_drive-64x64.py": "decode_head.conv_seg",
    "bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py": "decode_head.conv_seg",
    "fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py": "decode_head.conv_seg",
    "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py": "decode_head.conv_seg",
    "upernet/upernet_r18_4xb2-40k_cityscapes-512x1024.py": "decode_head.conv_seg",
    "stdc/stdc1_4xb12-80k_cityscapes-512x1024.py": "decode_head.conv_seg",
    "cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680.py": "decode_head.conv_seg",
    "erfnet/erfnet_fcn_4xb4-160k_cityscapes-512x1024.py": "decode_head.conv_seg",
    "danet/danet_r50-d8_4xb2-40k_cityscapes-512x1024.py": "decode_head.conv_seg",
    "encnet/encnet_r50-d8_4xb2-40k_cityscapes-512x1024.py": "decode_head.conv_seg",
    "pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes.py": "decode_head.conv_seg",
    "ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py": "decode_head.conv_seg",
    "icnet/icnet_r18-d8_4xb2-80k_cityscapes-832x832.py": "decode_head.conv_seg",
}
CLASSIFIERS = {
    "resnet/resnet18_8xb32_in1k.py": "head.fc",
    "resnet/resnet18_8xb16_cifar10.py": "head.fc",
    "mobilenet_v2/mobilenet-v2_8xb32_in1k.py": "head.fc",
    "mobilenet_v3/mobilenet-v3-small-050_8xb128_in1k.py": "head.layers.1.fc",
    "repvgg/repvgg-A0_8xb32_in1k.py": "head.fc",
    "shufflenet_v2/shufflenet-v2-1x_16xb64_in1k.py": "head.fc",
    "lenet/lenet5_mnist.py": "backbone.classifier.2",
    "vig/vig-tiny_8xb128_in1k.py": "head.fc2",
    "deit/deit-tiny_4xb256_in1k.py": "head.layers.head",
}
REFUSED = {
    "mmpretrain::deit/deit-tiny-distilled_4xb256_in1k.py": 224,
    "mmpretrain::levit/levit-128s_8xb256_in1k.py": 224,
    "mmpretrain::conformer/conformer-tiny-p16_8xb128_in1k.py": 224,
    "mmpretrain::efficientformer/efficientformer-l1_8xb128_in1k.py": 224,
    "mmseg::segmenter/segmenter_vit-t_mask_8xb1-160k_ade20k-512x512.py": 64,
}


def shrink(value):
    """Plain BN for SyncBN, so that a model runs in this process."""
    if isinstance(value, dict):
        out = {k: shrink(v) for k, v in value.items() if k != "init_cfg"}
        return {**out, "type": "BN"} if out.get("type") == "SyncBN" else out
    return type(value)(map(shrink, value)) if isinstance(value, (list, tuple)) else value


def build(reference, **changes):
    cfg = load_config(reference, "teacher.cfg")
    model = shrink(without_initialisation(model_config(cfg)))
    model.update(changes)
    with MODELS.switch_scope_and_registry(reference.partition("::")[0]) as registry:
        return registry.build(model)


def find(model, size, channels=3):
    inputs = torch.randn(2, channels, size, size)  # two: LeNet squeezes a batch of one
    run = lambda: model(inputs, mode="tensor")  # noqa: E731
    usual = kind_of_task(model).classifier_names(model)
    layer = find_classifier(model, run, usual, "the teacher", "teacher.layer")
    return layer, inputs


def read(model, layer, inputs):
    """What the tap sees in one pass, and what the model returns."""
    tap = Tap(model, layer)
    tap.arm()
    with evaluating(model), torch.no_grad():
        result = model(inputs, mode="tensor")
    tapped = tap.take()
    tap.close()
    return tap, tapped, result


@pytest.mark.parametrize("name", SEGMENTERS)
def test_segmenters_of_mmseg(name):
    model = build(f"mmseg::{name}")
    layer, inputs = find(model, 64)
    assert layer == SEGMENTERS[name]
    tap, tapped, result = read(model, layer, inputs)
    head = (
        model.decode_head[-1] if isinstance(model.decode_head, nn.ModuleList) else model.decode_head
    )
    assert tap.num_classes == head.num_classes == tapped.logits.shape[1]
    assert tapped.features.shape[-2:] == tapped.logits.shape[-2:]
    # The logits are those that the head returns (the first of several outputs).
    first = result[0] if isinstance(result, (tuple, list)) else result
    if "danet" not in name:
        assert torch.equal(tapped.logits, first)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_of_mmpretrain(name):
    model = build(f"mmpretrain::{name}", train_cfg=None)
    if name.startswith("lenet"):
        layer, inputs = find(model, 32, channels=1)
    else:
        layer, inputs = find(
            model, 32 if "cifar" in name else 224 if name[:3] in ("vig", "dei") else 64
        )
    assert layer == CLASSIFIERS[name]
    tap, tapped, result = read(model, layer, inputs)
    assert tapped.features.ndim == tapped.logits.ndim == 2
    assert tap.num_classes == tapped.logits.shape[1] == result.shape[1]
    assert torch.equal(tapped.logits, result)


@pytest.mark.parametrize("reference", REFUSED)
def test_several_or_no_classifiers_are_refused(reference):
    model = build(reference)
    with pytest.raises(ICKDError, match=r"Set teacher\.layer to the layer"):
        layer, inputs = find(model, REFUSED[reference])
        # A head may own the usual layer and never run it: the teacher's probe says so then.
        if read(model, layer, inputs)[1] is None:
            raise ICKDError("does not run. Set teacher.layer to the layer that gives the logits.")


def test_knet_is_refused():
    from mmickd.teachers import OfflineTeacher

    model = build("mmseg::knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512.py")
    teacher = OfflineTeacher("x.py", "x.pth")
    teacher.adopt(model, stub("mmseg"), torch.device("cpu"))
    with pytest.raises(ICKDError, match=r"[Ss]et teacher\.layer to the layer"):
        look(teacher, "mmseg", 64)


class Net(nn.Module):
    """Two layers; the second makes the logits."""

    def __init__(self, twice=False, change=False):
        super().__init__()
        self.body, self.out = nn.Linear(4, 5), nn.Linear(5, 3)
        self.aux = nn.Linear(5, 3)
        self.twice, self.change = twice, change

    def forward(self, x, mode="tensor"):
        y = self.out(self.body(x).relu())
        aux = self.aux(self.body(x))
        if self.change:
            return y * 1
        return (y, aux) if self.twice else y


def run_of(model):
    return lambda: model(torch.randn(2, 4))


def test_any_model_by_its_output():
    model = Net()
    assert find_classifier(model, run_of(model), (), "the student", "layer") == "out"
    assert model.training and not model.out._forward_hooks


def test_none_or_several_name_the_option_and_the_layers():
    model = Net(change=True)
    with pytest.raises(
        ICKDError, match=r"The student \(Net\) has no single layer.*Set layer to.*body, out, aux"
    ):
        find_classifier(model, run_of(model), (), "the student", "layer")
    model = Net(twice=True)
    with pytest.raises(ICKDError, match=r"several classifier layers \(out, aux\)"):
        find_classifier(model, run_of(model), (), "the student", "layer")


def test_a_failing_pass_leaves_the_model_as_it_was():
    model = Net()
    model.aux.eval()

    def run():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        find_classifier(model, run, (), "the student", "layer")
    assert model.training and not model.aux.training and not model.out._forward_hooks


def test_eval_by_train_itself_and_back_module_by_module():
    """Some networks prepare tensors in train(False), and drop them in train(True)."""
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


def test_the_auxiliary_head_is_never_taken():
    model = nn.Module()
    model.auxiliary_head, model.decode_head = nn.Module(), nn.Module()
    model.auxiliary_head.conv_seg = nn.Conv2d(3, 2, 1)
    model.decode_head.conv_seg = nn.Conv2d(3, 2, 1)
    usual = kind_of_task(model).classifier_names(model)
    assert find_classifier(model, lambda: None, usual, "the student", "layer") == usual[0]
    assert usual == ("decode_head.conv_seg",)


def test_a_layer_of_another_name():
    model = Net()
    assert require_layer(model, "out") is model.out
    with pytest.raises(ICKDError, match=r"Net has no layer 'outt'. Did you mean 'out'"):
        Tap(model, "outt")
    with pytest.raises(ICKDError, match="It has: body, out, aux"):
        Tap(model, "zzzzzzzz")
    with pytest.raises(ICKDError, match="ReLU is no classifier layer"):
        out_width(nn.ReLU())
    assert leaf_names(model, last=2) == ["out", "aux"]


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
    assert tap.take() is None  # taking disarms
    tap.arm()
    model(torch.randn(1, 4))
    tap.arm()  # arming forgets
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
    output.sum().backward()  # runs the layer again
    assert tap.take() is None
    assert x.grad is not None


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_carries_no_hook(clone):
    model = Net()
    tap = Tap(model, "out")
    twin = clone(model)
    hooks = list(twin.out._forward_hooks.values())
    assert not any(isinstance(hook, LocalHook) for hook in hooks)
    tap.arm()
    twin(torch.randn(2, 4))
    assert tap.take() is None  # the copy runs for itself
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
    """Inserts a component into names, as the wrappers of torch do."""

    def __init__(self, inner, component):
        super().__init__()
        setattr(self, component, inner)
        self.component = component

    def forward(self, *args, **kwargs):
        return getattr(self, self.component)(*args, **kwargs)


@pytest.mark.parametrize(
    "component", ["_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod"]
)
def test_names_without_what_wrappers_insert(component):
    model = Net()
    inner = model.out
    model.out = Wrapper(inner, component)
    model.body = Wrapper(model.body, component)
    assert require_layer(model, "out") is inner
    assert find_classifier(model, run_of(model), (), "the student", "layer") == "out"
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


def test_scopes_are_left_as_they_were():
    before = DefaultScope.get_current_instance()
    build("mmpretrain::lenet/lenet5_mnist.py")
    after = DefaultScope.get_current_instance()
    assert (before and before.scope_name) == (after and after.scope_name)
