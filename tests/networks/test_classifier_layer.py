"""The classifier layer: the layer whose output is the model's output."""

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmickd.networks.classifier_layer import find_classifier
from mmickd.networks.taps import Tap, evaluating
from mmickd.tasks import kind_of_task
from mmickd.teachers.models import model_config, without_initialisation
from mmickd.utils.config import load_config
from mmickd.utils.errors import ICKDError
from tests.helpers.nets import Net

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
DISTILLED_DEIT = "mmpretrain::deit/deit-tiny-distilled_4xb256_in1k.py"
LEVIT = "mmpretrain::levit/levit-128s_8xb256_in1k.py"
SEGMENTER = "mmseg::segmenter/segmenter_vit-t_mask_8xb1-160k_ade20k-512x512.py"
KNET = "mmseg::knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512.py"
WITHOUT_LAYER = {
    DISTILLED_DEIT: (224, "mean of the outputs of head.layers.head and head.layers.head_dist"),
    LEVIT: (224, "mean of the outputs of head.head.linear and head.head_dist.linear"),
    "mmpretrain::efficientformer/efficientformer-l1_8xb128_in1k.py": (
        224,
        "mean of the outputs of head.head and head.dist_head",
    ),
    SEGMENTER: (64, "query-based"),
    KNET: (64, "query-based"),
}


def without_sync_bn(value):
    """Return a config with BN for SyncBN, so that the model runs in this process."""
    if isinstance(value, dict):
        out = {k: without_sync_bn(v) for k, v in value.items() if k != "init_cfg"}
        return {**out, "type": "BN"} if out.get("type") == "SyncBN" else out
    return type(value)(map(without_sync_bn, value)) if isinstance(value, (list, tuple)) else value


def build(reference, **changes):
    cfg = load_config(reference, "teacher.cfg")
    model = without_sync_bn(without_initialisation(model_config(cfg)))
    model.update(changes)
    with MODELS.switch_scope_and_registry(reference.partition("::")[0]) as registry:
        return registry.build(model)


def find(model, size, channels=3, layer="auto"):
    inputs = torch.randn(2, channels, size, size)  # two: LeNet squeezes a batch of one
    run = lambda: model(inputs, mode="tensor")  # noqa: E731
    usual = kind_of_task(model).classifier_names(model)
    return find_classifier(model, run, usual, "the teacher", "teacher.layer", layer), inputs


def read(model, layer, inputs):
    """Return a tap of the layer, its recording of one pass, and the model's output."""
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
    # The logits are the output of the head, or its first output.
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


@pytest.mark.parametrize("reference", WITHOUT_LAYER)
def test_a_model_without_classifier_layer_gets_no_advice_to_name_it(reference):
    size, reason = WITHOUT_LAYER[reference]
    with pytest.raises(ICKDError, match="no single layer") as caught:
        find(build(reference), size)
    assert reason in str(caught.value)
    assert "Set teacher.layer" not in str(caught.value) and len(str(caught.value)) < 500


def test_several_classifier_layers():
    reference = "mmpretrain::conformer/conformer-tiny-p16_8xb128_in1k.py"
    with pytest.raises(ICKDError, match=r"several .*conv_cls_head.*Set teacher\.layer"):
        find(build(reference), 224)


@pytest.mark.parametrize(
    ("reference", "layer"), [(DISTILLED_DEIT, "head.layers.head"), (LEVIT, "head.head.linear")]
)
def test_a_named_layer_that_is_averaged_with_another_is_refused(reference, layer):
    with pytest.raises(ICKDError, match=rf"^Layer '{layer}' .*mean of the outputs") as caught:
        find(build(reference), 224, layer=layer)
    assert "Set teacher.layer" not in str(caught.value)


@pytest.mark.parametrize("layer", ["auto", "head.norm_product"])
def test_scaled_cosines_are_refused(layer):
    head = dict(type="ArcFaceClsHead", num_classes=5, in_channels=512, scale=30.0)
    model = build("mmpretrain::resnet/resnet18_8xb16_cifar10.py", head=head)
    with pytest.raises(ICKDError, match=r"head\.norm_product times 30\.") as caught:
        find(model, 32, layer=layer)
    assert "Set teacher.layer" not in str(caught.value)


def test_a_layer_in_the_middle_is_refused_with_the_classifier_layer():
    model = build("mmpretrain::resnet/resnet18_8xb16_cifar10.py")
    match = r"^Layer 'backbone\.conv1' .*the teacher.*'head\.fc'.*teacher\.layer"
    with pytest.raises(ICKDError, match=match):
        find(model, 32, layer="backbone.conv1")
    assert find(model, 32, layer="head.fc")[0] == "head.fc"


def search(model, layer="auto", usual=()):
    run = lambda: model(torch.randn(2, 4))  # noqa: E731
    return find_classifier(model, run, usual, "the student", "layer", layer)


def test_any_model_by_its_output():
    model = Net()
    assert search(model) == "out"
    assert model.training and not model.out._forward_hooks


def test_several_layers_are_named_with_the_option():
    model = Net(twice=True)
    with pytest.raises(ICKDError, match=r"The student \(Net\) .*\(out, aux\)\. Set layer"):
        search(model)
    for layer in ("out", "aux"):  # the model returns both
        assert search(model, layer) == layer


class Changed(Net):
    """Network that changes the output of its last layer."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, x, mode="tensor"):
        return self.change(super().forward(x))


@pytest.mark.parametrize(
    "change", [lambda y: y * 1, lambda y: y.double(), lambda y: y[:, None], lambda y: dict(y=[y])]
)
@pytest.mark.parametrize("layer", ["auto", "out"])
def test_values_count_and_not_dtype_shape_or_nesting(change, layer):
    model = Changed(change)
    assert search(model, layer) == "out"


@pytest.mark.parametrize("layer", ["auto", "out"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: -0.5 * y + 2, "out times -0.5 plus 2"),
        (lambda y: y.tanh() ** 2, "changes the output"),
        (lambda y: None, "changes the output"),
    ],
)
def test_other_values_are_refused(change, words, layer):
    with pytest.raises(ICKDError, match=f"no single layer.*{words}"):
        search(Changed(change), layer, usual=("out",))


def test_another_layer_with_a_usual_name_is_skipped():
    assert search(Net(), usual=("aux",)) == "out"


def test_zero_outputs_are_no_match():
    model = Net()
    for layer in (model.out, model.aux):
        nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
    with pytest.raises(ICKDError, match=r"'out'\. Set layer"):
        search(model, "aux")
    assert search(model) == "out"


def test_a_failed_pass_leaves_the_model_unchanged():
    model = Net()
    model.aux.eval()

    def run():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        find_classifier(model, run, (), "the student", "layer")
    assert model.training and not model.aux.training and not model.out._forward_hooks


def test_the_default_scope_stays():
    before = DefaultScope.get_current_instance()
    build("mmpretrain::lenet/lenet5_mnist.py")
    after = DefaultScope.get_current_instance()
    assert (before and before.scope_name) == (after and after.scope_name)
