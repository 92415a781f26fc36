"""The demo's data sets: deterministic, correctly labelled, disjoint."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "dataset_converters"))

pytest.importorskip("sklearn")

import digit_scenes
import digits
from sklearn.datasets import load_digits


def digest(folder: Path) -> str:
    """Digest of names and pixels of all pictures below a folder."""
    total = hashlib.sha256()
    for file in sorted(folder.rglob("*.png")):
        total.update(str(file.relative_to(folder)).encode())
        total.update(np.asarray(Image.open(file)).tobytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes") / "set"
    assert digit_scenes.make_scenes(out, num_train=12, num_val=12, train_per_class=5)
    return out


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("digits") / "set"
    assert digits.make_digits(out, train_per_class=3)
    return out


def test_digits_are_deterministic_and_differ_by_seed(classes: Path, tmp_path: Path) -> None:
    digits.make_digits(tmp_path / "again", train_per_class=3)
    digits.make_digits(tmp_path / "other", train_per_class=3, seed=1)
    assert digest(tmp_path / "again") == digest(classes)
    assert digest(tmp_path / "other") != digest(classes)


def test_digits_lie_in_the_folder_of_their_class(classes: Path) -> None:
    target = load_digits().target
    files = list(classes.rglob("*.png"))
    assert len(files) == len(target)
    assert {int(file.stem) for file in files} == set(range(len(target)))  # disjoint splits
    for file in files:
        assert target[int(file.stem)] == int(file.parent.name)
    for digit in range(10):
        assert len(list((classes / "train" / str(digit)).iterdir())) == 3


def test_glyph_scales_the_ink() -> None:
    image = np.zeros((8, 8))
    image[2:6, 2:6] = 16
    ink = digits.glyph(image, 32)
    assert ink.shape == (32, 32) and ink[16, 16] == 255 and ink[0, 0] == 0


def test_scenes_are_deterministic_and_differ_by_seed(scenes: Path, tmp_path: Path) -> None:
    size = dict(num_train=12, num_val=12, train_per_class=5)
    digit_scenes.make_scenes(tmp_path / "again", **size)
    digit_scenes.make_scenes(tmp_path / "other", seed=1, **size)
    assert digest(tmp_path / "again") == digest(scenes)
    assert digest(tmp_path / "other") != digest(scenes)


def test_a_pixel_has_the_label_of_the_digit_that_covers_it(scenes: Path) -> None:
    manifest = json.loads((scenes / "manifest.json").read_text())
    source = load_digits()
    rows = dict(zip(("train", "val"), digits.split_digits(source.target, 5, 0), strict=True))
    for split in ("train", "val"):
        for number, placed in enumerate(manifest[split]):
            labels = np.asarray(Image.open(scenes / "ann_dir" / split / f"{number:04d}.png"))
            expected = np.zeros_like(labels)
            for digit in placed:
                row = rows[split][digit["sample"]]
                ink = digits.glyph(source.images[row], digit["side"])
                for y, x in zip(*np.nonzero(ink >= digit_scenes.INK_THRESHOLD), strict=True):
                    expected[digit["top"] + y, digit["left"] + x] = source.target[row] + 1
            assert (labels > 0).any()
            np.testing.assert_array_equal(labels, expected)


def test_digits_stand_out_from_their_background(scenes: Path) -> None:
    for number in range(12):
        picture = np.asarray(Image.open(scenes / "img_dir" / "train" / f"{number:04d}.png"))
        labels = np.asarray(Image.open(scenes / "ann_dir" / "train" / f"{number:04d}.png"))
        assert picture[labels > 0].mean() > picture[labels == 0].mean() + 30


def test_splits_share_neither_digits_nor_background() -> None:
    makers = digit_scenes.scene_makers(train_per_class=5, size=80, seed=0)
    train, val = ({image.tobytes() for image in makers[s].images} for s in ("train", "val"))
    assert not train & val
    for left, right in zip(makers["train"].photos, makers["val"].photos, strict=True):
        assert left.shape[1] + right.shape[1] == 640
        assert min(left.shape[:2]) >= 2 * 80 and min(right.shape[:2]) >= 2 * 80


def test_a_complete_folder_is_kept_and_another_one_replaced(tmp_path: Path) -> None:
    out = tmp_path / "set"
    assert digits.make_digits(out, train_per_class=2)
    before = (out / "manifest.json").stat().st_mtime_ns
    assert not digits.make_digits(out, train_per_class=2)
    assert (out / "manifest.json").stat().st_mtime_ns == before
    assert digits.make_digits(out, train_per_class=3)
    assert len(list((out / "train").rglob("*.png"))) == 30
    assert not list(out.parent.glob(".set*"))


def test_an_interrupted_folder_does_not_count_as_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "set"

    def interrupted(*_: object) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr(digits, "glyph", interrupted)
    with pytest.raises(KeyboardInterrupt):
        digits.make_digits(out, train_per_class=2)
    assert not out.exists()
    monkeypatch.undo()
    assert digits.make_digits(out, train_per_class=2)


def test_a_folder_without_a_manifest_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="was not written by this converter"):
        digits.make_digits(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("count", [0, 1000])
def test_impossible_splits_are_rejected(count: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train-per-class"):
        digits.make_digits(tmp_path / "set", train_per_class=count)


def test_label_errors_only_change_the_label_maps_of_training(scenes: Path, tmp_path: Path) -> None:
    noisy = tmp_path / "noisy"
    size = dict(num_train=12, num_val=12, train_per_class=5)
    digit_scenes.make_scenes(noisy, label_noise=0.5, **size)
    clean = json.loads((scenes / "manifest.json").read_text())
    wrong = json.loads((noisy / "manifest.json").read_text())
    for folder in ("img_dir", "ann_dir/val"):
        assert digest(noisy / folder) == digest(scenes / folder)
    changed = [
        first["label"] != second["label"]
        for before, after in zip(clean["train"], wrong["train"], strict=True)
        for first, second in zip(before, after, strict=True)
    ]
    assert 0.25 < sum(changed) / len(changed) < 0.75
    for number, placed in enumerate(wrong["train"]):
        name = f"train/{number:04d}.png"
        before, after = (np.asarray(Image.open(of / "ann_dir" / name)) for of in (scenes, noisy))
        np.testing.assert_array_equal(before > 0, after > 0)  # a whole digit gets another class
        assert set(np.unique(after)) - {0} == {digit["label"] for digit in placed}
    with pytest.raises(ValueError, match="label-noise"):
        digit_scenes.make_scenes(tmp_path / "never", label_noise=1.5, **size)


def test_the_select_split_shares_no_digit_with_val(tmp_path: Path) -> None:
    digits.make_digits(tmp_path / "set", train_per_class=3, select=5)
    files = {s: {f.name for f in (tmp_path / "set" / s).rglob("*.png")} for s in ("val", "select")}
    assert len(files["select"]) == 50 and not files["val"] & files["select"]
    makers = digit_scenes.scene_makers(train_per_class=5, size=80, seed=0, select=True)
    val, select = ({image.tobytes() for image in makers[s].images} for s in ("val", "select"))
    assert not val & select and len(val | select) > 1500
    digit_scenes.make_scenes(tmp_path / "scenes", 2, 2, train_per_class=5, num_select=3)
    assert len(list((tmp_path / "scenes" / "img_dir" / "select").iterdir())) == 3


def test_label_errors_are_a_share_of_each_class(classes: Path, tmp_path: Path) -> None:
    digits.make_digits(tmp_path / "noisy", train_per_class=10, label_noise=0.4)
    truth = load_digits().target
    wrong = dict.fromkeys(range(10), 0)
    for file in (tmp_path / "noisy" / "train").rglob("*.png"):
        wrong[int(truth[int(file.stem)])] += int(file.parent.name) != truth[int(file.stem)]
    assert set(wrong.values()) == {4}
    for file in (tmp_path / "noisy" / "val").rglob("*.png"):
        assert int(file.parent.name) == truth[int(file.stem)]
    with pytest.raises(ValueError, match="label-noise"):
        digits.make_digits(tmp_path / "never", label_noise=-0.1)


def test_a_long_tail_keeps_fewer_of_most_classes(classes: Path, tmp_path: Path) -> None:
    digits.make_digits(tmp_path / "whole", train_per_class=20)
    digits.make_digits(tmp_path / "tail", train_per_class=20, long_tail=10)
    names = [set((tmp_path / s / "train").rglob("*.png")) for s in ("whole", "tail")]
    whole, tail = ({file.name for file in files} for files in names)
    assert tail < whole
    kept = [len(list((tmp_path / "tail" / "train" / str(digit)).iterdir())) for digit in range(10)]
    assert sorted(kept, reverse=True) == [round(20 * 10 ** (-rank / 9)) for rank in range(10)]
    held = [
        sorted(f.name for f in (tmp_path / s / "val").rglob("*.png")) for s in ("whole", "tail")
    ]
    assert held[0] == held[1]
    with pytest.raises(ValueError, match="long-tail"):
        digits.make_digits(tmp_path / "never", long_tail=0.5)
