"""CIFAR ResNets: sizes, shapes, and imports without mmpretrain."""

import subprocess
import sys

import pytest
import torch
from mmengine.registry import MODELS as MMENGINE_MODELS

from mmickd.registry import MODELS


@pytest.mark.parametrize(
    ("depth", "stem", "base", "parameters"),
    [
        (8, 32, 64, 1_233_540),
        (32, 32, 64, 7_433_860),
        (20, 16, 16, 278_324),
        (56, 16, 16, 861_620),
        (110, 16, 16, 1_736_564),
    ],
)
def test_parameters_with_100_classes_equal_the_literature(depth, stem, base, parameters):
    backbone = MODELS.build(
        dict(type="CIFARResNet", depth=depth, stem_channels=stem, base_channels=base)
    )
    classifier = torch.nn.Linear(backbone.feat_dim, 100)
    count = sum(p.numel() for module in (backbone, classifier) for p in module.parameters())
    assert count == parameters


def test_output_is_the_last_of_three_stages():
    images = torch.zeros(2, 3, 32, 32)
    backbone = MODELS.build(dict(type="CIFARResNet", depth=8))
    assert [tuple(out.shape) for out in backbone(images)] == [(2, 64, 8, 8)]
    backbone = MODELS.build(dict(type="CIFARResNet", depth=8, out_indices=(0, 2)))
    assert [tuple(out.shape) for out in backbone(images)] == [(2, 16, 32, 32), (2, 64, 8, 8)]


def test_residual_branches_start_alive():
    backbone = MODELS.build(dict(type="CIFARResNet", depth=8))
    backbone.init_weights()
    assert backbone.layer1[0].norm2.weight.tolist() == [1.0] * 16


def test_resolves_by_scope_from_another_package():
    model = MMENGINE_MODELS.build(
        dict(
            type="mmpretrain.ImageClassifier",
            backbone=dict(type="mmickd.CIFARResNet", depth=8),
            neck=dict(type="mmpretrain.GlobalAveragePooling"),
            head=dict(type="mmpretrain.LinearClsHead", num_classes=10, in_channels=64),
        )
    )
    assert model.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_unknown_depth_names_the_known_ones():
    with pytest.raises(ValueError, match=r"no depth 50; use one of \[8, 14, 20"):
        MODELS.build(dict(type="CIFARResNet", depth=50))


BLOCK = 'import sys; sys.modules["mmpretrain"] = None\n'


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_import_needs_no_mmpretrain():
    code = BLOCK + 'import mmickd.models\nprint("mmseg" in sys.modules)'
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "False"


def test_build_without_mmpretrain_says_what_to_install():
    code = BLOCK + "from mmickd.models import build_cifar_resnet\nbuild_cifar_resnet(depth=8)"
    result = run(code)
    assert "ImportError: mmickd.CIFARResNet derives from mmpretrain" in result.stderr
