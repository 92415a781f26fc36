"""``mmickd check``: real tiny runs up to their first step, with and without findings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmickd.commands.check import main
from mmickd.utils.errors import ICKDError
from tests.helpers import toys, trained


@pytest.fixture
def check(tmp_path: Path) -> Any:
    """Function that checks a config and returns the exit code and the JSON."""

    def call(cfg: Config, *words: str) -> tuple[int, dict[str, Any]]:
        file, written = tmp_path / "config.py", tmp_path / "report.json"
        cfg.dump(file)
        code = main([str(file), "--json", str(written), *words])
        assert not list(Path(cfg.work_dir).iterdir())
        report = json.loads(written.read_text())
        texts = {"info": report["notes"], "warning": report["warnings"]}
        for level, expected in texts.items():
            assert [f["text"] for f in report["findings"] if f["level"] == level] == expected
        return code, report

    return call


def codes(report: dict[str, Any]) -> list[str]:
    return [f["code"] for f in report["findings"] if f["level"] == "warning"]


def test_a_classifier_without_findings(check: Any, capsys: pytest.CaptureFixture[str]) -> None:
    toy = trained.classifier()
    code, report = check(toy.distilled(losses={"picd": {"num_positives": 8}}))
    assert (code, codes(report)) == (0, [])
    assert report["layers"]["student"] == {
        "name": "head.fc",
        "features": [8, 64],
        "logits": [8, 3],
    }
    assert report["layers"]["teacher"]["name"] == "head.fc"
    assert report["bank"]["rows"] == 60 and report["bank"]["levels"]["image"]["exact"]
    assert report["bank"]["bytes"] == 60 * (64 * 2 + 3 * 2 + 16)
    assert report["bank"]["knn_accuracy"] == report["teacher"]["agreement"] == 1
    assert report["bank"]["complete"] == 1
    assert set(report["terms"]) == {"kd", "picd", "nicd"}
    for loss in (report["task"], *report["terms"].values()):
        assert loss["value"] > 0 and loss["gradient"] > 0
    assert set(report["seconds"]) == {"student", "teacher", "retrieval", "losses"}
    printed = capsys.readouterr().out
    assert "Verdict: OK." in printed and "LoadImageFromFile, PackInputs" in printed


@pytest.mark.parametrize("level", [None, ["pixel", "region"]])
def test_a_segmenter_without_findings(check: Any, level: Any) -> None:
    cfg = trained.segmenter().distilled(
        level=level, losses={"picd": {"num_positives": 4}, "nicd": {"num_negatives": 4}}
    )
    code, report = check(cfg, "--images", "6")
    assert (code, codes(report)) == (0, [])
    assert report["teacher"]["class_agreement"] > 0.7
    assert set(report["bank"]["levels"]) == {*(level or ["pixel"])}
    both = [f"{name}_{at}" for at in level or () for name in ("picd", "nicd")]
    assert set(report["terms"]) == {"kd", *(both or ["picd", "nicd"])}
    assert report["losses"] == {
        "task": "weight 1",
        "kd": "KDLoss, weight 1, temperature 4.0",
        "picd": "PICDLoss, weight 0.3, temperature 1.0, num_positives 4",
        "nicd": "NICDLoss, weight 4, linear decay to 0, temperature 0.5, num_negatives 4",
    }


def test_a_label_map_that_is_shifted_by_one(check: Any) -> None:
    def shifted(label: np.ndarray) -> np.ndarray:
        return np.where(label < 2, label + 1, 255).astype(np.uint8)

    toy = trained.segmenter()
    cfg = trained.on(trained.with_labels(toy.data, shifted), toy.distilled())
    code, report = check(cfg)
    assert code == 1 and report["teacher"]["agreement"] < 0.2
    (text,) = (f["text"] for f in report["findings"] if f["code"] == "shifted_labels")
    assert "label - 1" in text and "reduce_zero_label" in text


def test_folders_that_are_shifted_by_one_without_a_bank(check: Any) -> None:
    toy = trained.classifier()
    moved = {
        f"c{label}/{number}.png": f"c{(label + 1) % 3}"
        for label in range(3)
        for number in range(trained.PER_CLASS)
    }
    data = trained.with_moved_pictures(toy.data, moved)
    code, report = check(trained.on(data, toy.distilled(losses=toys.KD_ONLY)))
    assert code == 1 and report["bank"]["rows"] == 0
    assert codes(report) == ["teacher_near_chance", "shifted_labels"]


def test_a_teacher_that_was_never_trained(check: Any) -> None:
    code, report = check(toys.segmenter().distilled())
    assert code == 1 and report["teacher"]["class_agreement"] < 0.4
    assert "teacher_near_chance" in codes(report)
    assert not {"label_issues", "shifted_labels", "reordered_classes"} & set(codes(report))


def test_label_errors(check: Any) -> None:
    toy = trained.classifier()
    moved = {f"c{label}/{n}.png": f"c{(label + 1) % 3}" for label in range(3) for n in (3, 11)}
    code, report = check(trained.on(trained.with_moved_pictures(toy.data, moved), toy.distilled()))
    assert code == 1
    assert report["bank"]["levels"]["image"]["wrong_labels"] == pytest.approx(0.1)
    assert codes(report) == ["label_issues"] and "about 10%" in report["warnings"][0]


@pytest.mark.parametrize("kind", ["SelfTeacher", "OnlineTeacher"])
def test_a_teacher_that_learns(check: Any, kind: str, capsys: Any) -> None:
    cfg = toys.classifier().distilled()
    cfg.custom_hooks[0]["teacher"] = dict(type=kind)
    late = dict(loss_weight=dict(value=2.0, begin=1))
    cfg.custom_hooks[0]["losses"] = {name: late for name in ("kd", "picd", "nicd")}
    cfg.custom_hooks[0]["bank"] = dict(capacity_per_class=64)
    code, report = check(cfg)
    assert (code, codes(report)) == (0, [])
    assert report["teacher"]["agreement"] is None and not report["bank"]["levels"]
    assert report["bank"]["rows"] == 64 * 3 * (1 if kind == "SelfTeacher" else 2)
    assert report["terms"]["nicd"]["value"] > 0 and report["terms"]["nicd"]["weight"] == 2
    assert "No frozen bank" in capsys.readouterr().out


def test_numbers_of_rows_are_compared_with_the_whole_bank(check: Any) -> None:
    cfg = trained.classifier().distilled(losses={"picd": {"num_positives": 18}})
    code, report = check(cfg, "--images", "12")  # about 4 of a class
    assert code == 0 and report["images"]["taken"] == 12
    cfg = trained.classifier().distilled(
        losses={"picd": {"num_positives": 18}}, bank={"capacity_per_class": 6}
    )
    code, report = check(cfg, "--images", "12")
    assert code == 1 and report["bank"]["rows"] == 18
    assert codes(report).count("few_positives") == 1
    (text,) = (f["text"] for f in report["findings"] if f["code"] == "few_positives")
    assert "num_positives=18" in text and "median 6" in text


def one_picture_of_another_class(cfg: Config, folder: Path) -> Config:
    """Return a data set with one picture of class 2 and no picture of class 1."""
    data = shutil.copytree(toys.classifier().data, folder / "data")
    for label, kept in ((1, 0), (2, 1)):
        for file in sorted((data / f"train/c{label}").iterdir())[kept:]:
            file.unlink()
    return trained.on(data, cfg)


def test_a_class_that_few_images_do_not_show_is_no_error(check: Any, tmp_path: Path) -> None:
    cfg = one_picture_of_another_class(toys.classifier().distilled(), tmp_path)
    unseen = []
    for seed in range(4):
        cfg.custom_hooks[0]["bank"] = {"seed": seed}
        code, report = check(cfg, "--images", "3")
        rows = report["bank"]["levels"]["image"]
        assert rows["rows_per_class"][1] == 0 and rows["rows_per_class"][2] == 1
        unseen.append(rows["sample"]["rows_per_class"][2] == 0)
        assert ("one_class" in codes(report)) == unseen[-1] <= code
        if unseen[-1]:
            assert set(codes(report)) <= {"one_class", "few_positives", "few_negatives"}
    assert any(unseen)


def void_in_all_but_one(cfg: Config, folder: Path) -> Config:
    """Return the scenes with labels in the last scene only."""
    data = shutil.copytree(toys.segmenter().data, folder / "data")
    for file in sorted((data / "ann_dir/train").iterdir())[:-1]:
        Image.fromarray(np.full_like(np.asarray(Image.open(file)), 255)).save(file)
    return trained.on(data, cfg)


def test_a_few_images_without_a_label_are_no_error(check: Any, tmp_path: Path) -> None:
    cfg = void_in_all_but_one(toys.segmenter().distilled(), tmp_path)
    numbers = []
    for seed in range(4):
        cfg.custom_hooks[0]["bank"] = {"seed": seed}
        _, report = check(cfg, "--images", "2")
        assert report["bank"]["rows"] > 0
        numbers.append(report["images"]["taken"])
    assert 2 < max(numbers) <= 6
    next(iter(sorted((tmp_path / "data/ann_dir/train").iterdir(), reverse=True))).write_bytes(
        (tmp_path / "data/ann_dir/train/0.png").read_bytes()
    )
    with pytest.raises(ICKDError, match=r"6 training images .* no labelled row"):
        check(cfg, "--images", "2")


@pytest.mark.parametrize("images", [3, 100])
def test_data_of_one_class_stop_the_run(check: Any, tmp_path: Path, images: int) -> None:
    cfg = one_picture_of_another_class(toys.classifier().distilled(), tmp_path)
    next((tmp_path / "data/train/c2").iterdir()).unlink()
    with pytest.raises(ICKDError, match="only class 0"):
        check(cfg, "--images", str(images))


def test_weights_that_are_far_too_large_or_small(check: Any) -> None:
    losses = {
        "kd": {"loss_weight": 1e4},
        "picd": {"loss_weight": 1e-5, "num_positives": 8},
        "nicd": {"loss_weight": 0.0},
    }
    code, report = check(trained.classifier().distilled(losses=losses))
    assert code == 1 and codes(report) == ["strong_gradient", "weak_gradient"]
    assert "loss_kd" in report["warnings"][0] and "loss_picd" in report["warnings"][1]


def test_an_error_of_the_run_stops_the_check(check: Any, tmp_path: Path) -> None:
    cfg = toys.classifier().distilled()
    torch.save({"state_dict": {}}, tmp_path / "empty.pth")
    cfg.custom_hooks[0]["teacher"]["checkpoint"] = str(tmp_path / "empty.pth")
    with pytest.raises(ICKDError) as caught:
        check(cfg)
    report = json.loads((tmp_path / "report.json").read_text())
    text = str(caught.value)
    error = {"code": "run_cannot_begin", "level": "error", "text": text}
    assert report == {"error": text, "warnings": [], "notes": [], "findings": [error]}


def test_an_error_of_another_package_stops_the_check(check: Any, tmp_path: Path) -> None:
    cfg = toys.classifier().distilled()
    cfg.train_dataloader.dataset.type = "NoSuchDataset"
    with pytest.raises(ICKDError, match=r"the run cannot begin: KeyError: .*NoSuchDataset"):
        check(cfg)
    assert "NoSuchDataset" in json.loads((tmp_path / "report.json").read_text())["error"]


def test_a_run_of_the_flexible_runner(check: Any) -> None:
    cfg = trained.classifier().distilled(losses=toys.KD_ONLY)
    cfg.runner_type = "FlexibleRunner"
    code, report = check(cfg)
    assert code == 0 and report["terms"]["kd"]["gradient"] > 0


@pytest.mark.parametrize("losses", [{"kd": {"loss_weight": -1.0}}, {"kd": {"x": 1}}])
def test_impossible_options(check: Any, losses: Any) -> None:
    with pytest.raises(ICKDError, match=r"losses\.kd"):
        check(toys.classifier().distilled(losses=losses))
