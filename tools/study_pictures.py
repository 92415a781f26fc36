"""Draw the rows that a distilled run retrieves, and the predictions of all students."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import _checkout  # noqa: F401
import numpy as np
import torch
from mmengine.config import DictAction
from mmengine.dataset import pseudo_collate
from mmengine.runner import load_checkpoint
from PIL import Image

from mmickd.commands.arguments import read_config
from mmickd.commands.gallery import validation_images
from mmickd.commands.open_run import OpenRun, open_run
from mmickd.experiments.training_log import last_checkpoint
from mmickd.gallery.contexts import ContextReader
from mmickd.gallery.pictures import draw_example
from mmickd.gallery.row_locator import GalleryBank
from mmickd.gallery.select_queries import class_names, shuffle_images
from mmickd.gallery.thumbnails import Thumbnails

QUERIES, NEIGHBOURS = 8, 5
"""Number of queries in the picture of retrieval; number of positives, and negatives, of each."""
COMPARED = 200
"""Number of validation images that are searched for images on which the students disagree."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config of the distilled run")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("--students", nargs="+", help="NAME=WORK_DIR of each student")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    return parser.parse_args(argv)


def draw_retrieval(run: OpenRun) -> Image.Image:
    """Return the gallery's pictures of validation queries of all classes, in two columns."""
    gallery_bank, images = GalleryBank.of(run.ready), validation_images(run)
    names = class_names(run.runner.train_dataloader.dataset, gallery_bank.bank.num_classes)
    classes = {label for label, name in enumerate(names) if name != "background"}
    order = shuffle_images(images, classes, seed=0)
    reader = ContextReader(gallery_bank, NEIGHBOURS, students={})
    examples = reader.balanced_examples(images, "val", order, QUERIES, classes)
    thumbnails = Thumbnails(
        {"train": gallery_bank.images, "val": images}, gallery_bank.teacher.swaps_channels
    )
    pictures = [draw_example(example, thumbnails.picture, names) for example in examples]
    width, height = (max(sizes) for sizes in zip(*(p.size for p in pictures), strict=True))
    sheet = Image.new("RGB", (2 * width, (len(pictures) + 1) // 2 * height), "white")
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % 2 * width, number // 2 * height))
    return sheet


@torch.no_grad()
def predict(model: Any, samples: Sequence[dict[str, Any]]) -> list[Any]:
    """Return the predictions of a model for packed samples, as data samples."""
    model.eval()
    return model.val_step(pseudo_collate(list(samples)))


def predictions_of_all(
    run: OpenRun, students: Mapping[str, Path], samples: Sequence[dict[str, Any]]
) -> dict[str, list[Any]]:
    """Return the predictions of the teacher and of the students, by name."""
    predictions = {"teacher": predict(GalleryBank.of(run.ready).teacher.model, samples)}
    for name, work_dir in students.items():
        load_checkpoint(run.student, str(last_checkpoint(work_dir)), map_location="cpu")
        predictions[name] = predict(run.student, samples)
    return predictions


def select_disagreements(labels: Mapping[str, Sequence[int]], count: int) -> list[int]:
    """Return evenly spaced images on which the students disagree; if too few, others are added.

    Args:
        labels: Predicted class of each image, by student.
        count: Number of images.

    Example:
        >>> select_disagreements({"a": [0, 1, 2, 3], "b": [0, 2, 2, 0]}, count=3)
        [1, 3, 0]
    """
    rows = list(zip(*labels.values(), strict=True))
    differ = [index for index, row in enumerate(rows) if len(set(row)) > 1]
    agree = [index for index, row in enumerate(rows) if len(set(row)) == 1]
    spaced = differ[:: max(1, len(differ) // count)] + agree[:: max(1, len(agree) // count)]
    return spaced[:count]


def draw_classes(run: OpenRun, students: Mapping[str, Path], file: Path) -> None:
    """Draw images on which the students disagree, each with the predictions of all models."""
    import matplotlib.pyplot as plt

    dataset = run.runner.val_dataloader.dataset
    # The files are sorted by class, so a stride takes some images of each class.
    indices = range(0, len(dataset), max(1, len(dataset) // COMPARED))
    samples = [dataset[index] for index in indices]
    scores = {
        name: [prediction.pred_score.max(dim=0) for prediction in predictions]
        for name, predictions in predictions_of_all(run, students, samples).items()
    }
    labels = {name: [int(score.indices) for score in scores[name]] for name in students}
    columns, classes = select_disagreements(labels, QUERIES), dataset.metainfo["classes"]
    figure, axes = plt.subplots(1, len(columns), figsize=(1.25 * len(columns) + 1.5, 2.6))
    for axis, column in zip(axes, columns, strict=True):
        label = int(samples[column]["data_samples"].gt_label)
        _show(axis, _picture(dataset, indices[column]), f"is {classes[label]}")
        for line, (name, values) in enumerate(scores.items()):
            probability, predicted = float(values[column].values), int(values[column].indices)
            text = f"{classes[predicted]}  {probability:.2f}"
            colour = "tab:green" if predicted == label else "tab:red"
            style = dict(transform=axis.transAxes, fontsize=8, va="top")
            axis.text(0.5, -0.08 - 0.16 * line, text, color=colour, ha="center", **style)
            if column == columns[0]:
                axis.text(-0.15, -0.08 - 0.16 * line, name, ha="right", **style)
    figure.savefig(file, dpi=120, bbox_inches="tight")


def draw_maps(run: OpenRun, students: Mapping[str, Path], file: Path) -> None:
    """Draw validation images, one in each row, with the true and the predicted label maps."""
    import matplotlib.pyplot as plt

    dataset = run.runner.val_dataloader.dataset
    samples = [dataset[index] for index in range(min(QUERIES, len(dataset)))]
    maps = {"truth": [sample["data_samples"].gt_sem_seg for sample in samples]}
    for name, predictions in predictions_of_all(run, students, samples).items():
        maps[name] = [prediction.pred_sem_seg for prediction in predictions]
    colours = np.zeros((256, 3), np.uint8)  # pixels to ignore (255) are black
    colours[: len(dataset.metainfo["palette"])] = dataset.metainfo["palette"]
    size = (1.4 * (len(maps) + 1), 1.42 * len(samples) + 0.3)
    figure, axes = plt.subplots(len(samples), len(maps) + 1, figsize=size, layout="constrained")
    for number, row in enumerate(axes):
        _show(row[0], _picture(dataset, number), "picture" if number == 0 else "")
        for axis, (name, of_images) in zip(row[1:], maps.items(), strict=True):
            picture = colours[of_images[number].data[0].numpy()]
            _show(axis, picture, name if number == 0 else "")
    figure.savefig(file, dpi=120, bbox_inches="tight")


def _picture(dataset: Any, index: int) -> np.ndarray:
    return np.asarray(Image.open(dataset.get_data_info(index)["img_path"]).convert("RGB"))


def _show(axis: Any, picture: np.ndarray, title: str) -> None:
    axis.imshow(picture, interpolation="nearest")
    axis.axis("off")
    axis.set_title(title, fontsize=9)


def main(argv: Sequence[str] | None = None) -> None:
    """Write ``retrieval.png`` and ``predictions.png``."""
    args = parse_args(argv)
    students = {
        name: Path(work_dir)
        for name, _, work_dir in (student.partition("=") for student in args.students)
    }
    args.out.mkdir(parents=True, exist_ok=True)
    with open_run(read_config(args.config, args.cfg_options)) as run:
        draw_retrieval(run).save(args.out / "retrieval.png")
        has_points = run.distiller.levels[0] == "pixel"
        draw = draw_maps if has_points else draw_classes
        draw(run, students, args.out / "predictions.png")
    for name in ("retrieval", "predictions"):
        print(f"wrote {args.out / name}.png", flush=True)


if __name__ == "__main__":
    main()
