"""Derived class folders: the pictures of each split, and their labels."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "dataset_converters"))

import derive

CLASSES = ("ant", "bee", "cat", "dog", "elk")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for split, count in (("train", 40), ("val", 10)):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                # all classes have the same file names, which the derived set must keep distinct
                (root / split / name / f"{number}.png").write_text(f"{split} {name} {number}")
    return root


def derived(source: Path, out: str, *options: object) -> dict[str, dict[str, str]]:
    """Derive a set; return the content of each file by split and path."""
    target = source.parent / out
    derive.main([str(source), str(target), *map(str, options)])
    return {
        split.name: {str(f.relative_to(split)): f.read_text() for f in split.glob("*/*")}
        for split in target.iterdir()
        if split.is_dir()
    }


def counts(split: dict[str, str]) -> Counter[str]:
    return Counter(name.split("/")[0] for name in split)


def test_without_options_the_pictures_only_get_unique_names(source: Path) -> None:
    result = derived(source, "out")
    assert set(result) == {"train", "val"}
    assert result["train"] == {
        f"{name}/{name}_{number}.png": f"train {name} {number}"
        for name in CLASSES
        for number in range(40)
    }
    assert counts(result["val"]) == dict.fromkeys(CLASSES, 10)


def test_a_larger_set_contains_the_smaller_and_holds_out_the_same_pictures(source: Path) -> None:
    few = derived(source, "few", "--select", 8, "--per-class", 3)
    more = derived(source, "more", "--select", 8, "--per-class", 20)
    other = derived(source, "other", "--select", 8, "--per-class", 3, "--seed", 1)
    assert counts(few["train"]) == dict.fromkeys(CLASSES, 3)
    assert counts(few["select"]) == dict.fromkeys(CLASSES, 8)
    assert few["train"].items() < more["train"].items()
    assert few["select"] == more["select"] != other["select"]
    assert not set(more["train"]) & set(more["select"])
    assert few["val"] == more["val"]


def test_part_of_val_can_be_held_out_instead(source: Path) -> None:
    result = derived(source, "out", "--select-from-val", 0.3)
    assert counts(result["select"]) == dict.fromkeys(CLASSES, 3)
    assert counts(result["val"]) == dict.fromkeys(CLASSES, 7)
    assert not set(result["val"]) & set(result["select"])
    assert len(result["train"]) == 200


def test_noise_moves_a_share_of_each_class_and_writes_the_true_classes(source: Path) -> None:
    result = derived(source, "out", "--label-noise", 0.4, "--select", 8)
    moved = Counter()
    for name, text in result["train"].items():
        label, truth = name.split("/")[0], text.split()[1]
        moved[truth] += label != truth
    # 0.4 of 32 pictures of each class; select and val have no label errors
    assert moved == dict.fromkeys(CLASSES, 13)
    for split in ("select", "val"):
        assert all(name.split("/")[0] == text.split()[1] for name, text in result[split].items())
    rows = list(csv.DictReader((source.parent / "out" / "noise.csv").open()))
    assert {f"{row['label']}/{row['file']}": row["truth"] for row in rows} == {
        name: text.split()[1] for name, text in result["train"].items()
    }


def test_noise_draws_the_other_classes_uniformly() -> None:
    pictures = {name: [Path(str(number)) for number in range(4000)] for name in CLASSES}
    placed = derive.with_noise(pictures, 0.5, seed=3)
    pairs = Counter((picture.truth, picture.label) for picture in placed)
    for truth in CLASSES:
        assert pairs[truth, truth] == 2000
        # 2000 draws from four classes: 500 each, with a standard deviation of 19
        assert all(abs(pairs[truth, label] - 500) < 100 for label in CLASSES if label != truth)


def test_a_long_tail_falls_exponentially(source: Path) -> None:
    result = derived(source, "out", "--long-tail", 16)
    assert sorted(counts(result["train"]).values(), reverse=True) == [40, 20, 10, 5, 2]
    assert counts(result["val"]) == dict.fromkeys(CLASSES, 10)
    other = derived(source, "other", "--long-tail", 16, "--seed", 2)
    assert counts(other["train"]) != counts(result["train"])


@pytest.mark.parametrize("in_file", [False, True])
def test_classes_by_slice_and_by_file(source: Path, tmp_path: Path, in_file: bool) -> None:
    choice = "1:3"
    if in_file:
        (tmp_path / "list.txt").write_text("cat\tfeline\nbee\n")
        choice = str(tmp_path / "list.txt")
    result = derived(source, "out", "--classes", choice)
    assert set(counts(result["train"])) == set(counts(result["val"])) == {"bee", "cat"}


def test_a_complete_set_is_kept_and_another_one_replaced(source: Path, capsys) -> None:
    first = derived(source, "out", "--per-class", 4)
    assert "complete already" not in capsys.readouterr().out
    assert derived(source, "out", "--per-class", 4) == first
    assert "complete already" in capsys.readouterr().out
    (source / "train" / "ant" / "40.png").write_text("train ant 40")
    assert derived(source, "out", "--per-class", 4)["train"] != first["train"]


def test_a_derived_set_as_source_and_copies_if_links_fail(source: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    linked = derived(source, "linked", "--select", 4)
    monkeypatch.setattr(derive.os, "link", refuse)
    assert derived(source, "copied", "--select", 4) == linked
    again = derived(source.parent / "linked", "again", "--per-class", 5)
    assert counts(again["train"]) == dict.fromkeys(CLASSES, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--select", 38, "--per-class", 3), "class ant has 40 training pictures: too few"),
        (("--select", 40), "too few for --select 40 and 1 to train on"),
        (("--label-noise", "nan"), "--label-noise must be 0 to 1, got nan"),
        (("--long-tail", 0.5), "--long-tail must be at least 1"),
        (("--classes", "5:9"), "the source has 5 classes"),
        (("--classes", "nowhere.txt"), "nowhere.txt does not exist"),
    ],
)
def test_impossible_options_are_rejected(source: Path, options, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        derived(source, "out", *options)
    assert not (source.parent / "out").exists()


def test_the_source_is_never_replaced(source: Path) -> None:
    (source / "manifest.json").write_text("{}")
    for out in (source, source.parent):
        with pytest.raises(SystemExit, match="is the source or holds it"):
            derive.main([str(source), str(out)])
    assert len(list((source / "train").glob("*/*"))) == 200
