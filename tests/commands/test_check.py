"""``mmickd check``: real tiny runs up to their first step, sound ones and others."""

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
    """Checks a config; gives the exit code and the JSON."""

    def call(cfg: Config, *words: str) -> tuple[int, dict[str, Any]]:
        file, found = tmp_path / "config.py", tmp_path / "found.json"
        cfg.dump(file)
        code = main([str(file), "--json", str(found), *words])
        assert not list(Path(cfg.work_dir).iterdir())
        return code, json.loads(found.read_text())

    return call


def test_a_sound_classifier(check: Any, capsys: pytest.CaptureFixture[str]) -> None:
    toy = trained.classifier()
    code, found = check(toy.distilled(losses={"picd": {"num_positives": 8}}))
    assert (code, found["warnings"]) == (0, [])
    assert found["layers"]["student"] == {
        "name": "head.fc",
        "features": [8, 64],
        "logits": [8, 3],
    }
    assert found["layers"]["teacher"]["name"] == "head.fc"
    assert found["bank"]["rows"] == 60 and found["bank"]["levels"]["image"]["exact"]
    assert found["bank"]["bytes"] == 60 * (64 * 2 + 3 * 2 + 16)
    assert found["bank"]["knn_accuracy"] == found["teacher"]["agreement"] == 1
    assert found["bank"]["complete"] == 1
    assert set(found["terms"]) == {"kd", "picd", "nicd"}
    for one in (found["task"], *found["terms"].values()):
        assert one["value"] > 0 and one["gradient"] > 0
    assert set(found["seconds"]) == {"student", "teacher", "retrieval", "losses"}
    shown = capsys.readouterr().out
    assert "Verdict: Sound." in shown and "LoadImageFromFile, PackInputs" in shown


@pytest.mark.parametrize("level", [None, ["pixel", "region"]])
def test_a_sound_segmenter(check: Any, level: Any) -> None:
    cfg = trained.segmenter().distilled(
        level=level, losses={"picd": {"num_positives": 4}, "nicd": {"num_negatives": 4}}
    )
    code, found = check(cfg, "--images", "6")
    assert (code, found["warnings"]) == (0, [])
    assert found["teacher"]["class_agreement"] > 0.7
    assert set(found["bank"]["levels"]) == {*(level or ["pixel"])}
    both = [f"{name}_{at}" for at in level or () for name in ("picd", "nicd")]
    assert set(found["terms"]) == {"kd", *(both or ["picd", "nicd"])}


def test_a_label_map_that_is_shifted_by_one(check: Any) -> None:
    def shifted(label: np.ndarray) -> np.ndarray:
        return np.where(label < 2, label + 1, 255).astype(np.uint8)

    toy = trained.segmenter()
    cfg = trained.on(trained.with_labels(toy.data, shifted), toy.distilled())
    code, found = check(cfg)
    assert code == 1 and found["teacher"]["agreement"] < 0.2
    (warning,) = (w for w in found["warnings"] if "shifted by one" in w)
    assert "label - 1" in warning and "reduce_zero_label" in warning


def test_folders_that_are_shifted_by_one_without_a_bank(check: Any) -> None:
    toy = trained.classifier()
    moved = {
        f"c{label}/{number}.png": f"c{(label + 1) % 3}"
        for label in range(3)
        for number in range(trained.PER_CLASS)
    }
    data = trained.with_moved_pictures(toy.data, moved)
    code, found = check(trained.on(data, toy.distilled(losses=toys.KD_ONLY)))
    assert code == 1 and found["bank"]["rows"] == 0
    assert any("shifted by one" in warning for warning in found["warnings"])
    assert any("hardly beats chance" in warning for warning in found["warnings"])


def test_a_teacher_that_was_never_trained(check: Any) -> None:
    code, found = check(toys.segmenter().distilled())
    assert code == 1 and found["teacher"]["class_agreement"] < 0.4
    assert any("hardly beats chance" in warning for warning in found["warnings"])
    assert not any("look wrong" in w or "shifted" in w for w in found["warnings"])


def test_labels_that_are_wrong(check: Any) -> None:
    toy = trained.classifier()
    moved = {f"c{label}/{n}.png": f"c{(label + 1) % 3}" for label in range(3) for n in (3, 11)}
    code, found = check(trained.on(trained.with_moved_pictures(toy.data, moved), toy.distilled()))
    assert code == 1
    assert found["bank"]["levels"]["image"]["wrong_labels"] == pytest.approx(0.1)
    (warning,) = (w for w in found["warnings"] if "look wrong" in w)
    assert "about 10% of the labels" in warning and "mmickd gallery" in warning


@pytest.mark.parametrize("kind", ["SelfTeacher", "OnlineTeacher"])
def test_a_teacher_that_learns(check: Any, kind: str, capsys: Any) -> None:
    cfg = toys.classifier().distilled()
    cfg.custom_hooks[0]["teacher"] = dict(type=kind)
    late = dict(loss_weight=dict(value=2.0, begin=1))
    cfg.custom_hooks[0]["losses"] = {name: late for name in ("kd", "picd", "nicd")}
    cfg.custom_hooks[0]["bank"] = dict(capacity_per_class=64)
    code, found = check(cfg)
    assert (code, found["warnings"]) == (0, [])
    assert found["teacher"]["agreement"] is None and not found["bank"]["levels"]
    assert found["bank"]["rows"] == 64 * 3 * (1 if kind == "SelfTeacher" else 2)
    assert found["terms"]["nicd"]["value"] > 0 and found["terms"]["nicd"]["weight"] == 2
    assert "No frozen bank" in capsys.readouterr().out


def test_warnings_of_a_small_bank_are_those_of_the_whole(check: Any) -> None:
    cfg = trained.classifier().distilled(losses={"picd": {"num_positives": 18}})
    code, found = check(cfg, "--images", "12")  # about 4 of a class
    assert code == 0 and found["images"]["taken"] == 12
    cfg = trained.classifier().distilled(
        losses={"picd": {"num_positives": 18}}, bank={"capacity_per_class": 6}
    )
    code, found = check(cfg, "--images", "12")
    assert code == 1 and found["bank"]["rows"] == 18
    (warning,) = (w for w in found["warnings"] if "num_positives=18" in w)
    assert "median 6" in warning


def one_picture_of_another_class(cfg: Config, folder: Path) -> Config:
    """The data set with one picture of class 2 left, and none of class 1."""
    data = shutil.copytree(toys.classifier().data, folder / "data")
    for label, kept in ((1, 0), (2, 1)):
        for file in sorted((data / f"train/c{label}").iterdir())[kept:]:
            file.unlink()
    return trained.on(data, cfg)


def test_a_class_that_few_images_do_not_show_is_no_error(check: Any, tmp_path: Path) -> None:
    cfg = one_picture_of_another_class(toys.classifier().distilled(), tmp_path)
    codes = []
    for seed in range(4):
        cfg.custom_hooks[0]["bank"] = {"seed": seed}
        code, found = check(cfg, "--images", "3")
        rows = found["bank"]["levels"]["image"]
        assert rows["rows_per_class"][1] == 0 and rows["rows_per_class"][2] == 1
        unseen = [w for w in found["warnings"] if "not seen in 3 images" in w]
        assert len(unseen) == (rows["sample"]["rows_per_class"][2] == 0) <= code
        assert not any("loss_" in w or "chance" in w for w in found["warnings"] if unseen)
        codes.append(len(unseen))
    assert 1 in codes


def void_in_all_but_one(cfg: Config, folder: Path) -> Config:
    """The scenes with a label in the last one alone."""
    data = shutil.copytree(toys.segmenter().data, folder / "data")
    for file in sorted((data / "ann_dir/train").iterdir())[:-1]:
        Image.fromarray(np.full_like(np.asarray(Image.open(file)), 255)).save(file)
    return trained.on(data, cfg)


def test_a_few_images_without_a_label_are_no_error(check: Any, tmp_path: Path) -> None:
    cfg = void_in_all_but_one(toys.segmenter().distilled(), tmp_path)
    taken = []
    for seed in range(4):
        cfg.custom_hooks[0]["bank"] = {"seed": seed}
        _, found = check(cfg, "--images", "2")
        assert found["bank"]["rows"] > 0
        taken.append(found["images"]["taken"])
    assert 2 < max(taken) <= 6
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


def test_weights_that_are_hardly_meant(check: Any) -> None:
    losses = {
        "kd": {"loss_weight": 1e4},
        "picd": {"loss_weight": 1e-5, "num_positives": 8},
        "nicd": {"loss_weight": 0.0},
    }
    code, found = check(trained.classifier().distilled(losses=losses))
    assert code == 1 and len(found["warnings"]) == 2
    assert "loss_kd pulls" in found["warnings"][0] and "lower" in found["warnings"][0]
    assert "loss_picd pulls" in found["warnings"][1] and "higher" in found["warnings"][1]


def test_what_stops_the_run_stops_it(check: Any, tmp_path: Path) -> None:
    cfg = toys.classifier().distilled()
    torch.save({"state_dict": {}}, tmp_path / "empty.pth")
    cfg.custom_hooks[0]["teacher"]["checkpoint"] = str(tmp_path / "empty.pth")
    with pytest.raises(ICKDError) as caught:
        check(cfg)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found == {"error": str(caught.value), "warnings": []}


def test_what_stops_other_packages_is_no_warning(check: Any, tmp_path: Path) -> None:
    cfg = toys.classifier().distilled()
    cfg.train_dataloader.dataset.type = "NoSuchDataset"
    with pytest.raises(ICKDError, match=r"the run cannot begin: KeyError: .*NoSuchDataset"):
        check(cfg)
    assert "NoSuchDataset" in json.loads((tmp_path / "found.json").read_text())["error"]


def test_a_run_of_the_flexible_runner(check: Any) -> None:
    cfg = trained.classifier().distilled(losses=toys.KD_ONLY)
    cfg.runner_type = "FlexibleRunner"
    code, found = check(cfg)
    assert code == 0 and found["terms"]["kd"]["gradient"] > 0


@pytest.mark.parametrize("losses", [{"kd": {"loss_weight": -1.0}}, {"kd": {"x": 1}}])
def test_options_that_cannot_be(check: Any, losses: Any) -> None:
    with pytest.raises(ICKDError, match=r"losses\.kd"):
        check(toys.classifier().distilled(losses=losses))
