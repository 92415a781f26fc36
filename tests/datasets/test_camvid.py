"""CamVid: classes, suffixes and labels."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("img_dir", "ann_dir"):
        (tmp_path / folder / "train").mkdir(parents=True)
    labels = np.array([[0, 5, 10], [255, 3, 1]], dtype=np.uint8)
    for i, suffix in enumerate((".png", ".png", ".jpg")):
        image = Image.fromarray(np.full((2, 3, 3), 7 * i, dtype=np.uint8))
        image.save(tmp_path / "img_dir" / "train" / f"{i}{suffix}")
        Image.fromarray(labels).save(tmp_path / "ann_dir" / "train" / f"{i}.png")
    return tmp_path


def build(root: Path, **kwargs):
    cfg = dict(
        type="mmickd.CamVidDataset",
        data_root=str(root),
        data_prefix=dict(img_path="img_dir/train", seg_map_path="ann_dir/train"),
        pipeline=[dict(type="mmseg.LoadAnnotations")],
    )
    return DATASETS.build(cfg | kwargs)


def test_eleven_classes_in_the_order_of_the_labels(root):
    meta = build(root).metainfo
    assert meta["classes"] == (
        *("sky", "building", "pole", "road", "pavement", "tree"),
        *("sign", "fence", "car", "pedestrian", "bicyclist"),
    )
    assert len({tuple(colour) for colour in meta["palette"]}) == 11


@pytest.mark.parametrize(("kwargs", "count"), [({}, 2), ({"img_suffix": ".jpg"}, 1)])
def test_image_suffix(root, kwargs, count):
    assert len(build(root, **kwargs)) == count


def test_labels_pass_unchanged_with_255_for_void(root):
    labels = build(root)[0]["gt_seg_map"]
    assert labels.tolist() == [[0, 5, 10], [255, 3, 1]]


def test_import_needs_neither_mmseg_nor_mmpretrain():
    code = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        'importlib.util.find_spec = lambda n, *a: None if n == "mmseg" else find(n, *a)\n'
        "import mmickd.datasets\n"
        'print(mmickd.datasets.__all__, {"mmseg", "mmpretrain"} & set(sys.modules))'
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "['InMemoryDataset'] set()", result.stderr
