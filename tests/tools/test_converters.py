"""The dataset converters as commands, on tiny folders in the public layouts."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CONVERTERS = Path(__file__).resolve().parents[2] / "tools" / "dataset_converters"
KEPT, OTHER = "n02124075", "n00000001"


def convert(script: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CONVERTERS / script), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def files(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@pytest.fixture
def tiny_imagenet(tmp_path: Path) -> Path:
    root = tmp_path / "tiny-imagenet-200"
    rng = np.random.default_rng(0)
    annotations = []
    for c, wnid in enumerate((KEPT, OTHER)):
        (root / "train" / wnid / "images").mkdir(parents=True)
        for i in (0, 2, 10):
            # a few of the real pictures are grey
            shape = (64, 64) if i == 2 else (64, 64, 3)
            image = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
            image.save(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG")
        (root / "val" / "images").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (200, 10, 10)).save(root / f"val/images/val_{c}.JPEG")
        annotations.append(f"val_{c}.JPEG\t{wnid}\t0\t0\t62\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(annotations))
    (root / "wnids.txt").write_text(f"{OTHER}\n{KEPT}\n")
    (root / "words.txt").write_text(f"{KEPT}\tEgyptian cat\n")
    return root


def test_tin100_all_classes(tiny_imagenet, tmp_path):
    target = tmp_path / "out" / "tin"
    result = convert("tin100.py", tiny_imagenet, target, "--classes", "all")
    assert result.returncode == 0, result.stderr
    assert files(target) == sorted(
        ["classes.txt"]
        + [f"train/{w}/{w}_{i}.jpg" for w in (KEPT, OTHER) for i in (0, 2, 10)]
        + [f"val/{KEPT}/val_0.jpg", f"val/{OTHER}/val_1.jpg"]
    )
    for path in target.rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.size, image.mode, image.format) == ((32, 32), "RGB", "JPEG")
    with Image.open(target / "val" / KEPT / "val_0.jpg") as image:
        assert np.abs(np.asarray(image).astype(int) - (200, 10, 10)).max() < 5
    assert (target / "classes.txt").read_text() == f"{OTHER}\t{OTHER}\n{KEPT}\tEgyptian cat\n"
    assert "2/2 classes" in result.stdout


def test_tin100_listed_classes_and_limit(tiny_imagenet, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{KEPT}\n")
    target = tmp_path / "tin"
    result = convert(
        "tin100.py", tiny_imagenet, target, "--classes", listed, "--train-per-class", 2
    )
    assert result.returncode == 0, result.stderr
    # sorted by number: 2 comes before 10
    assert files(target / "train") == [f"{KEPT}/{KEPT}_0.jpg", f"{KEPT}/{KEPT}_2.jpg"]


def test_tin100_needs_all_100_classes_of_the_default_list(tiny_imagenet, tmp_path):
    wnids = (CONVERTERS / "tin100_classes.txt").read_text().split()
    assert len(set(wnids)) == 100
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnid in wnids)
    result = convert("tin100.py", tiny_imagenet, tmp_path / "tin")
    assert result.returncode != 0
    assert "lists wnids that" in result.stderr
    assert not (tmp_path / "tin").exists()


@pytest.fixture
def segnet(tmp_path: Path) -> Path:
    root = tmp_path / "CamVid"
    for split in ("train", "val", "test"):
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir(parents=True)
        for i in range(2):
            image = np.full((4, 6, 3), 40 * i, dtype=np.uint8)
            Image.fromarray(image).save(root / split / f"{i}.png")
            labels = np.arange(24, dtype=np.uint8).reshape(4, 6) % 12
            Image.fromarray(labels).save(root / f"{split}annot" / f"{i}.png")
    return root


def test_camvid(segnet, tmp_path):
    target = tmp_path / "out"
    result = convert("camvid.py", segnet, target)
    assert result.returncode == 0, result.stderr
    assert files(target) == sorted(
        f"{kind}/{split}/{i}.png"
        for kind in ("img_dir", "ann_dir")
        for split in ("train", "val", "test")
        for i in range(2)
    )
    for i in range(2):
        image = segnet / "train" / f"{i}.png"
        assert (target / "img_dir" / "train" / f"{i}.png").read_bytes() == image.read_bytes()
        with Image.open(target / "ann_dir" / "train" / f"{i}.png") as labels:
            expected = np.arange(24).reshape(4, 6) % 12
            assert np.array_equal(np.asarray(labels), np.where(expected == 11, 255, expected))


def test_camvid_as_jpg_feeds_the_dataset(segnet, tmp_path):
    from mmengine.registry import DATASETS

    target = tmp_path / "out"
    result = convert("camvid.py", segnet, target, "--jpg", "--splits", "train")
    assert result.returncode == 0, result.stderr
    dataset = DATASETS.build(
        dict(
            type="mmickd.CamVidDataset",
            data_root=str(target),
            img_suffix=".jpg",
            data_prefix=dict(img_path="img_dir/train", seg_map_path="ann_dir/train"),
            pipeline=[
                dict(type="mmseg.LoadImageFromFile"),
                dict(type="mmseg.LoadAnnotations"),
            ],
        )
    )
    assert len(dataset) == 2
    assert dataset[1]["img"].shape == (4, 6, 3)
    assert set(np.unique(dataset[1]["gt_seg_map"])) == {*range(11), 255}


def test_camvid_rejects_other_label_maps_and_leaves_no_files(segnet, tmp_path):
    labels = np.full((4, 6), 31, dtype=np.uint8)
    Image.fromarray(labels).save(segnet / "valannot" / "1.png")
    before = sorted(tmp_path.iterdir())
    result = convert("camvid.py", segnet, tmp_path / "out")
    assert result.returncode != 0
    assert "is not a label map of the 11 classes" in result.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("script", ["camvid.py", "tin100.py"])
def test_missing_input_is_named(script, tmp_path):
    result = convert(script, tmp_path / "nowhere", tmp_path / "out")
    assert result.returncode != 0
    assert f"{tmp_path / 'nowhere'}" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_existing_target_is_never_changed(segnet, tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine.txt").write_text("keep")
    result = convert("camvid.py", segnet, target)
    assert result.returncode != 0
    assert "exists already" in result.stderr
    assert files(target) == ["mine.txt"]
