"""The frozen teacher of the offline paradigm."""

import copy
import subprocess

import pytest
import torch
from mmengine.registry import DefaultScope

from mmickd.teachers import OfflineTeacher
from mmickd.utils.errors import ICKDError
from tests.helpers.teachers import (
    data_sample,
    dry_run,
    empty_student,
    offline,
    run_context,
    teacher_configs,
)
from tests.helpers.tiny import save_teacher


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return config and checkpoint of a classifier and a segmenter, by scope."""
    root = tmp_path_factory.mktemp("teachers")
    classifier, segmenter = teacher_configs(root).values()
    plain = copy.deepcopy(segmenter)
    plain.model.pretrained = None
    return {
        "mmpretrain": (
            classifier,
            save_teacher(classifier, root / "c.pth", classes=("a", "b", "c")),
        ),
        "mmseg": (segmenter, save_teacher(plain, root / "s.pth")),
    }


@pytest.fixture(params=["mmpretrain", "mmseg"])
def built(request, files):
    cfg, checkpoint = files[request.param]
    # The run has the other scope: the teacher is built in its own.
    other = "mmseg" if request.param == "mmpretrain" else "mmpretrain"
    with DefaultScope.overwrite_default_scope(other):
        return offline(request.param, cfg, checkpoint)


def built_teacher(files, scope="mmpretrain", **options):
    """Return a teacher that is built."""
    cfg, checkpoint = files[scope]
    teacher = OfflineTeacher(cfg, str(checkpoint), **options)
    teacher.build(run_context(empty_student(scope)))
    return teacher


def scope_of(teacher):
    return "mmseg" if hasattr(teacher.model, "decode_head") else "mmpretrain"


def test_weights_come_from_the_checkpoint(built, files):
    state = torch.load(files[scope_of(built)][1], weights_only=True)["state_dict"]
    weights = built.model.state_dict()
    assert weights.keys() == state.keys()
    assert all(torch.equal(weights[name], state[name]) for name in weights)


def test_frozen_and_in_eval_everywhere(built):
    assert not any(module.training for module in built.model.modules())
    assert not any(p.requires_grad for p in built.model.parameters())
    before = {k: v.clone() for k, v in built.model.state_dict().items()}
    inputs = torch.randn(2, 3, 32, 32, requires_grad=True)
    tapped = built(inputs)
    assert not tapped.features.requires_grad and not tapped.logits.requires_grad
    again = built(inputs)
    assert torch.equal(tapped.logits, again.logits)
    assert all(torch.equal(v, before[k]) for k, v in built.model.state_dict().items())
    assert not any(isinstance(m, torch.nn.SyncBatchNorm) for m in built.model.modules())


def test_the_classifier_layer_maps_features_to_logits(built):
    tapped = built.forward_normalized(torch.randn(2, 3, 32, 32))
    layer = dict(built.model.named_modules())[built.tap.layer]
    with torch.no_grad():
        assert torch.allclose(layer(tapped.features), tapped.logits)
    assert tapped.logits.shape[1] == built.tap.num_classes == 3


def test_the_data_preprocessor_is_part_of_the_model(built):
    """Configs of classifiers have it beside the model."""
    raw = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    sample = data_sample(scope_of(built))
    result = built.preprocess({"inputs": [raw.clone()], "data_samples": [sample]})
    expected = (raw.flip(0).float() - torch.tensor([120.0, 110, 100])[:, None, None]) / 60
    assert torch.allclose(result[0], expected, atol=1e-5)


def test_inputs_are_converted_from_the_students_normalisation(files):
    from mmpretrain.models.utils.data_preprocessor import ClsDataPreprocessor

    cfg, checkpoint = files["mmpretrain"]
    student = ClsDataPreprocessor(mean=[10, 20, 30], std=[1, 2, 3], to_rgb=False)
    network = torch.nn.Module()
    network.data_preprocessor = student
    teacher = OfflineTeacher(cfg, str(checkpoint))
    teacher.build(run_context(network))
    dry_run(teacher)
    raw = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)

    def data():
        return {"inputs": [raw.clone()], "data_samples": [data_sample("mmpretrain")]}

    result = teacher(student(data(), True)["inputs"])
    expected = teacher.forward_normalized(teacher.preprocess(data()))
    assert torch.allclose(result.logits, expected.logits, atol=1e-4)
    unconverted = teacher.forward_normalized(student(data(), False)["inputs"])
    assert not torch.allclose(unconverted.logits, expected.logits, atol=1e-2)


@pytest.mark.parametrize(("dtype", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_dtype_is_independent_of_the_students_autocast(files, dtype, expected):
    teacher = dry_run(built_teacher(files, dtype=dtype))
    x = torch.randn(2, 3, 32, 32)
    outside = teacher(x)
    with torch.autocast("cpu", torch.bfloat16):
        inside = teacher(x)
    with torch.autocast("cpu", torch.bfloat16):
        half = teacher(x.bfloat16())
    assert outside.logits.dtype == inside.logits.dtype == half.logits.dtype == expected
    assert torch.equal(outside.logits, inside.logits)


def test_unknown_dtype():
    with pytest.raises(ICKDError, match="fp32, fp16, bf16"):
        OfflineTeacher("x.py", "y.pth", dtype="half")


def test_the_layer_is_found_or_named(files):
    assert built_teacher(files).layer == "auto"
    for scope, layer in (("mmpretrain", "head.fc"), ("mmseg", "decode_head.conv_seg")):
        for option in ("auto", layer):
            assert dry_run(built_teacher(files, scope, layer=option), scope).layers == layer


def test_a_layer_that_does_not_exist_or_does_not_run(files):
    with pytest.raises(ICKDError, match=r"'head.fx'.*'head.fc'"):
        dry_run(built_teacher(files, layer="head.fx"))
    teacher = built_teacher(files)
    teacher.model.unused = torch.nn.Linear(2, 2)
    teacher.layer = "unused"
    with pytest.raises(ICKDError, match=r"'unused'.*teacher\.layer"):
        dry_run(teacher)


def test_classes(files):
    assert built_teacher(files).classes == ("a", "b", "c")
    assert built_teacher(files, "mmseg").classes is None


def test_another_architecture(files):
    with pytest.raises(ICKDError, match="does not fit"):
        offline("mmpretrain", files["mmpretrain"][0], files["mmseg"][1])


def test_a_model_that_cannot_be_built(files):
    cfg = copy.deepcopy(files["mmpretrain"][0])
    cfg.model.backbone.type = "NoSuchNet"
    with pytest.raises(ICKDError, match=r"teacher\.cfg .*NoSuchNet"):
        offline("mmpretrain", cfg, files["mmpretrain"][1])


def test_missing_files(files, tmp_path):
    _, checkpoint = files["mmpretrain"]
    with pytest.raises(ICKDError, match=r"teacher\.cfg='no\.py' does not exist"):
        OfflineTeacher("no.py", str(checkpoint)).check_files()
    with pytest.raises(ICKDError, match=r"teacher\.checkpoint .* does not exist"):
        OfflineTeacher(files["mmpretrain"][0], str(tmp_path / "x.pth")).check_files()
    with pytest.raises(ICKDError, match=r"teacher\.checkpoint .*not set"):
        OfflineTeacher(files["mmpretrain"][0]).check_files()


def test_fingerprint_follows_weights_config_layer_and_dtype(files, tmp_path):
    cfg, checkpoint = files["mmpretrain"]

    def print_of(cfg=cfg, checkpoint=checkpoint, **options):
        return offline("mmpretrain", cfg, checkpoint, **options).fingerprint()

    base = print_of()
    as_file = tmp_path / "cfg.py"
    cfg.dump(as_file)
    assert print_of() == print_of(cfg=str(as_file)) == print_of(cfg=cfg.to_dict()) == base

    other = copy.deepcopy(cfg)
    other.data_preprocessor.mean = [1, 2, 3]
    assert print_of(cfg=other)["teacher_config"] != base["teacher_config"]
    state = torch.load(checkpoint, weights_only=True)
    state["state_dict"]["head.fc.bias"][0] += 1e-6
    torch.save(state, tmp_path / "x.pth")
    assert print_of(checkpoint=tmp_path / "x.pth")["teacher_weights"] != base["teacher_weights"]
    assert print_of(dtype="bf16")["teacher_dtype"] != base["teacher_dtype"]


@pytest.mark.parametrize(
    "reference",
    [
        "mmpretrain::resnet/resnet18_8xb16_cifar10.py",
        "mmseg::fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py",
    ],
)
def test_references_into_packages_install_nothing(reference, monkeypatch):
    def refuse(*args, **kwargs):
        pytest.fail(f"a process was started: {args}")

    for name in ("Popen", "call", "check_call", "run"):
        monkeypatch.setattr(subprocess, name, refuse)
    monkeypatch.setattr("mmengine.utils.package_utils.call_command", refuse)
    from mmickd.utils.config import find_config, load_config

    assert find_config(reference, "teacher.cfg").endswith(reference.partition("::")[2])
    assert load_config(reference, "teacher.cfg").model.type


def layer_output(teacher, name, inputs):
    """Return the output of a layer, recorded by a hook."""
    outputs = []
    handle = dict(teacher.model.named_modules())[name].register_forward_hook(
        lambda module, args, output: outputs.append(output)
    )
    with torch.no_grad():
        teacher.model(inputs, mode="tensor")
    handle.remove()
    return outputs[-1]


def test_a_classifier_retrieves_by_an_earlier_layer(files):
    plain = offline("mmpretrain", *files["mmpretrain"])
    other = offline("mmpretrain", *files["mmpretrain"], features="backbone.layer2", feature_grid=2)
    inputs = torch.randn(2, 3, 32, 32)
    maps = layer_output(plain, "backbone.layer2", inputs)
    side = maps.shape[-1] // 2
    cells = [
        maps[:, :, y * side : (y + 1) * side, x * side : (x + 1) * side].mean((2, 3))
        for y in range(2)
        for x in range(2)
    ]
    tapped = other.forward_normalized(inputs)
    expected = torch.stack(cells, dim=2).flatten(1)  # (B, D, 4), rows of cells first
    assert torch.allclose(tapped.features, expected, atol=1e-6)
    assert other.width == tapped.features.shape[1] == 4 * maps.shape[1]
    assert torch.equal(tapped.logits, plain.forward_normalized(inputs).logits)
    assert "backbone.layer2" in other.layers


@pytest.mark.parametrize("layer", ["backbone.layer4", "backbone.layer2", "neck.gap"])
def test_features_have_one_width_for_images_of_all_sizes(files, layer):
    teacher = offline("mmpretrain", *files["mmpretrain"], features=layer)
    for size in [(16, 16), (32, 32), (64, 64), (8, 8), (24, 40)]:
        features = teacher.forward_normalized(torch.randn(1, 3, *size)).features
        assert features.shape[1] == teacher.width
    maps = layer_output(teacher, layer, torch.ones(1, 3, 16, 16))
    wide = teacher.forward_normalized(torch.ones(1, 3, 16, 16)).features.view(1, maps.shape[1], -1)
    # Cells of a smaller map are repeated.
    assert torch.allclose(wide.mean(2), maps.mean((2, 3)), atol=1e-6)


def test_a_classifier_retrieves_by_the_output_of_its_neck(files):
    plain = offline("mmpretrain", *files["mmpretrain"])
    by_neck = offline("mmpretrain", *files["mmpretrain"], features="neck.gap")
    inputs = torch.randn(2, 3, 32, 32)
    features = by_neck.forward_normalized(inputs).features
    assert torch.equal(features, plain.forward_normalized(inputs).features)


def test_a_segmenter_retrieves_by_maps_on_the_grid_of_its_logits(files):
    teacher = offline("mmseg", *files["mmseg"], features="backbone.layer1")
    inputs = torch.randn(1, 3, 32, 32)
    tapped = teacher.forward_normalized(inputs)
    maps = layer_output(teacher, "backbone.layer1", inputs)
    assert maps.shape[-2:] != tapped.logits.shape[-2:] == tapped.features.shape[-2:]
    assert tapped.features.shape[1] == maps.shape[1]
    assert torch.allclose(tapped.features.mean(), maps.mean(), atol=1e-2)


def test_the_fingerprint_follows_the_feature_layer(files):
    fingerprints = [
        offline("mmpretrain", *files["mmpretrain"], **options).fingerprint()
        for options in (
            {},
            {"feature_grid": 2},  # without effect
            {"features": "backbone.layer2"},
            {"features": "backbone.layer2", "feature_grid": 2},
            {"features": "backbone.layer3"},
        )
    ]
    assert fingerprints[0] == fingerprints[1] and "teacher_features" not in fingerprints[0]
    assert len({tuple(sorted(fingerprint.items())) for fingerprint in fingerprints}) == 4


@pytest.mark.parametrize(
    ("scope", "name", "words"),
    [
        ("mmpretrain", "backbone.layer9", "backbone.layer9"),
        ("mmpretrain", "backbone", "outputs no tensor"),
        ("mmpretrain", "head.loss_module", "outputs no tensor"),
        ("mmseg", "decode_head.loss_decode", "outputs no tensor"),
    ],
)
def test_a_feature_layer_without_a_tensor_is_refused(files, scope, name, words):
    with pytest.raises(ICKDError, match=words):
        offline(scope, *files[scope], features=name)
