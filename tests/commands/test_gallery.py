"""``mmickd gallery``, as a user runs it but in this process."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmickd.commands import gallery as command
from mmickd.commands.gallery import main
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.browser import BROWSER, render
from tests.helpers.tiny import classifier_config, plain_config_text, run, with_hook


def written(cfg: Config, folder: Path) -> Path:
    file = folder / "config.py"
    with plain_config_text():
        cfg.dump(file)
    return file


def gallery(cfg: Config, folder: Path, *words: Any) -> dict[str, Any]:
    """Run the command, and return what it writes for ``--json``."""
    folder.mkdir(exist_ok=True)
    file = written(cfg, folder)
    out, result = folder / "out", folder / "result.json"
    with plain_config_text():
        main([str(file), "--out", str(out), "--json", str(result), *map(str, words)])
    return json.loads(result.read_text())


def label_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "out" / "label_issues.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_classifier_gets_pictures_a_page_and_label_issues(tmp_path: Path, capsys) -> None:
    cfg = toys.classifier().distilled(bank={"cache_dir": None})
    result = gallery(cfg, tmp_path, "--count", 4, "--neighbours", 2)
    assert len(result["cases"]) == 4 and result["classes"] == ["c0", "c1", "c2"]
    for example in result["cases"]:
        assert Image.open(example["picture"]).format == "PNG"
        assert example["split"] == "train" and example["before"] and example["after"] is None
        assert len(example["positives"]) == len(example["negatives"]) == 2
    rows = label_rows(tmp_path)
    assert len(rows) == 18 and list(rows[0]) == ["image", "label", "suggested", "score", "is_issue"]
    assert {Path(row["image"]).parent.name for row in rows} == {row["label"] for row in rows}
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True) and 0 <= scores[-1] <= scores[0] <= 1
    output = capsys.readouterr().out
    for name in ("index.html", "pictures (4)", "label_issues.csv"):
        assert f"{tmp_path / 'out' / name}" in output
    assert Path(result["label_issues"]).name == "label_issues.csv"
    assert not Path(cfg.work_dir).exists() or not list(Path(cfg.work_dir).iterdir())


def test_a_trained_student_and_validation_images(tmp_path: Path) -> None:
    toy = toys.classifier()
    runner = run(toy.student())
    checkpoint = (Path(runner.work_dir) / "last_checkpoint").read_text()
    cfg = toy.distilled(bank={"cache_dir": None})
    words = ("--split", "val", "--classes", "c1", "--checkpoint", checkpoint)
    result = gallery(cfg, tmp_path, *words)
    examples = result["cases"]
    assert len(examples) == 6 and {example["label"] for example in examples} == {1}
    assert all("/val/c1/" in example["image"] for example in examples)
    assert all("/train/" in row["image"] for example in examples for row in example["positives"])
    assert any(example["before"] != example["after"] for example in examples)
    if BROWSER:
        page = render(tmp_path / "out" / "index.html")
        assert page.text("h2") == "c1" and "Student after" in page.text("#example")


def test_a_segmenter_shows_pixels_of_given_images(tmp_path: Path) -> None:
    cfg = toys.segmenter().distilled(bank={"cache_dir": None})
    result = gallery(cfg, tmp_path, "--images", "train/2.png", "--neighbours", 3)
    assert sorted(example["label"] for example in result["cases"]) == [0, 1, 2]
    assert all(0 < share < 1 for example in result["cases"] for share in example["point"])
    labels = {(row["image"], row["label"]) for row in label_rows(tmp_path)}
    assert len(labels) == len(label_rows(tmp_path)), "a line for each class of an image"


def test_the_config_s_backends_get_the_pictures(tmp_path: Path) -> None:
    cfg = toys.classifier().distilled(bank={"cache_dir": None})
    gallery(cfg, tmp_path, "--count", 2, "--backends")
    files = sorted((tmp_path / "out").rglob("vis_image/*.png"))
    assert [file.name for file in files] == ["context_0.png", "context_1.png"]
    cfg.visualizer.vis_backends = []
    with pytest.raises(ICKDError, match=r"no visualizer\.vis_backends"):
        gallery(cfg, tmp_path, "--backends")


def test_a_smaller_gallery_leaves_nothing_of_the_larger(tmp_path: Path) -> None:
    cfg = toys.classifier().distilled(bank={"cache_dir": None})
    for count in (3, 1):
        gallery(cfg, tmp_path, "--count", count)
        assert len(list((tmp_path / "out" / "pictures").iterdir())) == count


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--classes", "c7"], "no class 'c7'"),
        (["--images", "nowhere.png"], r"nowhere\.png is no image of the train split"),
        (["--checkpoint", "nowhere.pth"], r"--checkpoint 'nowhere\.pth'"),
        (["--images", "train/c0/1.png", "--classes", "c1"], "no image of the train split"),
    ],
)
def test_queries_that_do_not_exist_are_refused(
    tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(ICKDError, match=message):
        gallery(toys.classifier().distilled(bank={"cache_dir": None}), tmp_path, *words)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    toy = toys.classifier()
    with pytest.raises(ICKDError, match="does not fit the student of the config"):
        gallery(toy.distilled(), tmp_path, "--checkpoint", toy.checkpoint)


def test_without_a_validation_set_its_split_is_refused(tmp_path: Path) -> None:
    cfg = toys.classifier().distilled(bank={"cache_dir": None, "pipeline": PIPELINE})
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg[key] = None
    with pytest.raises(ICKDError, match="no val_dataloader"):
        gallery(cfg, tmp_path, "--split", "val")


PIPELINE = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]


def noisy_digits(root: Path) -> Path:
    """Write 60 pictures of each digit, 6 of them into the folder of another; one validates."""
    from sklearn.datasets import load_digits

    digits, rng = load_digits(), np.random.default_rng(0)
    for digit in range(10):
        for place, sample in enumerate(
            rng.permutation(np.flatnonzero(digits.target == digit))[:60]
        ):
            label = digit if place >= 6 else (digit + 1 + place) % 10
            picture = Image.fromarray((digits.images[sample] * 15.9).astype(np.uint8)).resize(
                (16, 16)
            )
            for split in ("train", "val") if place == 6 else ("train",):
                folder = root / split / str(label)
                folder.mkdir(parents=True, exist_ok=True)
                picture.convert("RGB").save(folder / f"{sample:04}.png")
    return root


def test_most_swapped_labels_have_the_highest_scores(tmp_path: Path) -> None:
    """The teacher is trained on the swapped labels."""
    datasets = pytest.importorskip("sklearn.datasets")
    data = noisy_digits(tmp_path / "digits")
    teacher = classifier_config(data, tmp_path / "teacher", iters=80, classes=10)
    teacher.train_dataloader.batch_size = 32
    teacher.train_dataloader.dataset.pipeline = PIPELINE
    teacher.optim_wrapper.optimizer.lr = 0.05
    teacher.default_hooks.checkpoint.interval = 1000
    run(teacher)
    checkpoint = tmp_path / "teacher" / "iter_80.pth"
    cfg = with_hook(
        classifier_config(data, tmp_path / "student", classes=10), teacher, checkpoint,
        bank={"cache_dir": None},
    )  # fmt: skip
    gallery(cfg, tmp_path / "gallery", "--count", 1)
    true = datasets.load_digits().target
    rows = label_rows(tmp_path / "gallery")
    wrong = [int(row["label"]) != true[int(Path(row["image"]).stem)] for row in rows]
    assert len(rows) == 600 and sum(wrong) == 60
    top = rows[: round(0.15 * len(rows))]
    num_found = sum(wrong[: len(top)])
    assert num_found >= 30, f"{num_found} of 60"
    num_right = sum(
        int(row["suggested"]) == true[int(Path(row["image"]).stem)]
        for row, is_wrong in zip(top, wrong, strict=False)
        if is_wrong
    )
    assert num_right > num_found / 2, "the suggested class is mostly the true one"
    issues = [is_wrong for row, is_wrong in zip(rows, wrong, strict=True) if row["is_issue"] == "1"]
    assert sum(issues) >= 15 and sum(issues) > 0.4 * len(issues), "10 % are at random"


def test_a_teacher_that_may_have_memorised_the_labels_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = toys.classifier().distilled(bank={"cache_dir": None})
    gallery(cfg, tmp_path, "--count", 1)
    assert "memorised" not in capsys.readouterr().out, "it is not trained"
    monkeypatch.setattr(command, "MEMORISED", 0.0)
    gallery(cfg, tmp_path, "--count", 1)
    assert "memorised" in capsys.readouterr().out
    cfg.custom_hooks[0]["teacher"]["features"] = "backbone.layer2"
    gallery(cfg, tmp_path, "--count", 1)
    assert "memorised" not in capsys.readouterr().out
