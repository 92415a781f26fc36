"""Show the rows that images retrieve from the memory bank, and list label issues."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.visualization import Visualizer
from PIL import Image
from torch import nn

from mmickd.building.images import BankImages
from mmickd.building.pipelines import choose_pipelines
from mmickd.commands.arguments import (
    add_config_arguments,
    positive_int,
    read_config,
    run_command,
)
from mmickd.commands.open_run import OpenRun, open_run
from mmickd.commands.terminal import add_json_argument, console, table
from mmickd.diagnostics.label_issues import label_issues
from mmickd.gallery.contexts import AFTER, BEFORE, ContextReader, StudentPredictor
from mmickd.gallery.output import Gallery, GalleryFiles, PictureWriter, write_gallery
from mmickd.gallery.row_locator import GalleryBank, RowLocator
from mmickd.gallery.select_queries import (
    class_names,
    images_by_path,
    select_classes,
    shuffle_images,
)
from mmickd.gallery.structures import LabelIssue
from mmickd.gallery.thumbnails import Thumbnails
from mmickd.teachers.checkpoint import load_checkpoint, state_dict_of
from mmickd.teachers.loading import load_strictly
from mmickd.utils.errors import ICKDError
from mmickd.utils.json_files import write_json
from mmickd.utils.modules import copy_model

EPILOG = """
Files in DIR: index.html (one file for any browser, without network or server), pictures/*.png (one
per query), label_issues.csv (image,label,suggested,score,is_issue by falling score). See
docs/commands/gallery.md.

exit codes: 0 finished, 2 the gallery cannot be made, 130 Ctrl-C
"""
MEMORISED = 0.99
"""Share of correctly predicted labels above which a teacher may have memorised label errors."""
TOP_ISSUES = 5
"""Number of label issues that are printed."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--checkpoint", metavar="STUDENT",
        help="trained student, shown beside the untrained student",
    )  # fmt: skip
    parser.add_argument(
        "--split", choices=["train", "val"], default="train", help="split of the queries (train)"
    )
    queries = parser.add_mutually_exclusive_group()
    queries.add_argument(
        "--images", nargs="+", metavar="PATH",
        help="images of the split to use as queries, by their paths or unique ends of paths",
    )  # fmt: skip
    queries.add_argument(
        "--count", type=positive_int, default=48,
        help="number of queries drawn at random, balanced over the classes (48)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of the random queries (0)")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="classes of the queries (all)")
    parser.add_argument(
        "--neighbours", type=positive_int, default=6,
        help="maximum number of positives, and of negatives, of a query (6)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder (WORK_DIR/gallery)")
    parser.add_argument(
        "--backends", action="store_true",
        help="also write the pictures to the config's visualizer.vis_backends (TensorBoard, ...)",
    )  # fmt: skip
    add_json_argument(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Collect the gallery of a config, and write it."""
    args = parse_args(argv)
    cfg = read_config(args.config, args.cfg_options)
    out = args.out or Path(cfg.work_dir) / "gallery"
    show = _backends(cfg, out) if args.backends else None
    with open_run(cfg) as run:
        gallery = collect(run, args, Path(args.config).stem)
    files = write_gallery(out, gallery, show)
    if args.json:
        write_json(args.json, _to_json(gallery, files))
    _print_summary(gallery, files)


def collect(run: OpenRun, args: argparse.Namespace, title: str) -> Gallery:
    """Return the gallery of a run.

    Args:
        run: Run before its first step.
        args: Arguments of the command line.
        title: Title of the page.

    Raises:
        ICKDError: If the run has no frozen bank, or the selected images or classes do not exist.
    """
    gallery_bank = GalleryBank.of(run.ready)
    bank, teacher = gallery_bank.bank, gallery_bank.teacher
    splits = {"train": gallery_bank.images}
    if args.split == "val":
        splits["val"] = validation_images(run)
    images = splits[args.split]
    names = class_names(run.runner.train_dataloader.dataset, bank.num_classes)
    classes = select_classes(args.classes, names)
    students = _students(run.student, run.ready.layer, args.checkpoint)
    reader = ContextReader(gallery_bank, args.neighbours, students, args.seed)
    if args.images:
        order = images_by_path(images, args.images, args.split)
        examples = reader.examples_of_images(images, args.split, order, classes)
    else:
        order = shuffle_images(images, classes, args.seed)
        examples = reader.balanced_examples(images, args.split, order, args.count, classes)
    if not examples:
        raise ICKDError(
            f"no image of the {args.split} split has one of the selected classes: choose other "
            "--classes or --images."
        )
    agreement = float((bank.logits.argmax(dim=1) == bank.labels).double().mean())
    if agreement > MEMORISED and teacher.features == "auto":
        _warn_of_memorised_labels(agreement)
    facts = [
        f"{gallery_bank.level} level",
        f"{len(bank):,} rows of {len(gallery_bank.images):,} training images",
        f"teacher layer {teacher.layers}",
        f"queries of the {args.split} split",
        f"the teacher predicts the label of {agreement:.1%} of the rows",
    ]
    thumbnails = Thumbnails(splits, teacher.swaps_channels)
    return Gallery(
        title, facts, names, examples, _scored_labels(gallery_bank, reader.rows), thumbnails
    )


def _scored_labels(gallery_bank: GalleryBank, rows: RowLocator) -> list[LabelIssue]:
    """Return all labels of the bank's images by falling score, with the names of the images."""
    columns = (column.tolist() for column in vars(label_issues(gallery_bank.bank)).values())
    return [LabelIssue(rows.name_of(image), *rest) for image, *rest in zip(*columns, strict=True)]


def _warn_of_memorised_labels(agreement: float) -> None:
    print_log(
        f"the teacher predicts {agreement:.1%} of the labels. It may have memorised label errors, "
        "which its last features then reflect. For label_issues.csv, retrieve by an earlier "
        "layer (--cfg-options custom_hooks.0.teacher.features=backbone.layer2)",
        logger="current",
        level=logging.WARNING,
    )


def validation_images(run: OpenRun) -> BankImages:
    """Return the images of the validation set, with a pipeline chosen as for the bank.

    Raises:
        ICKDError: If the config has no validation set.
    """
    loader = getattr(run.runner, "val_dataloader", None)
    dataset = getattr(loader, "dataset", None)
    if dataset is None:
        raise ICKDError("--split val: the config has no val_dataloader.")
    pipelines = choose_pipelines(None, dataset, dataset, run.runner.cfg)
    return BankImages(dataset, *(pipeline.transforms for pipeline in pipelines))


def _students(
    student: nn.Module, layer: str, checkpoint: str | None
) -> Mapping[str, StudentPredictor]:
    """Return the untrained student, and the trained student if there is a checkpoint."""
    students = {BEFORE: StudentPredictor(student, layer)}
    if checkpoint is not None:
        trained = copy_model(student)
        state = state_dict_of(load_checkpoint(checkpoint, option="--checkpoint"))
        load_strictly(trained, state, f"--checkpoint '{checkpoint}'", "the student of the config")
        students[AFTER] = StudentPredictor(trained, layer)
    return students


def _backends(cfg: Config, out: Path) -> Callable[[int, Image.Image], None]:
    """Return a function that writes a numbered picture to the backends of a config."""
    backends = (cfg.get("visualizer") or {}).get("vis_backends")
    if not backends:
        raise ICKDError(
            "--backends: the config has no visualizer.vis_backends. Add some to it, for example "
            "visualizer = dict(type='Visualizer', "
            "vis_backends=[dict(type='TensorboardVisBackend')])."
        )
    try:
        visualizer = Visualizer("gallery", vis_backends=backends, save_dir=str(out))
        visualizer.add_config(cfg)  # backends are initialised when they are first used
    except Exception as error:  # any error of a backend, such as a missing package
        raise ICKDError(
            f"--backends: visualizer.vis_backends cannot be opened ({type(error).__name__}: "
            f"{str(error)[:300]}). Install their packages, or remove these backends."
        ) from error
    writer = PictureWriter(visualizer)
    return lambda number, picture: writer.add("context", picture, number)


def _to_json(gallery: Gallery, files: GalleryFiles) -> dict[str, Any]:
    return {
        "page": str(files.page),
        "label_issues": str(files.label_issues),
        "classes": list(gallery.classes),
        "cases": [
            {"picture": str(file), **asdict(example)}
            for file, example in zip(files.pictures, gallery.examples, strict=True)
        ],
    }


def _print_summary(gallery: Gallery, files: GalleryFiles) -> None:
    issues, names, out = gallery.label_issues, gallery.classes, console()
    if issues:
        rows = [
            (issue.image, names[issue.label], names[issue.suggested], f"{issue.score:.2f}")
            for issue in issues[:TOP_ISSUES]
        ]
        out.print(table("top label issues", ["image", "label", "suggested", "score"], rows))
        out.print()
    for title, path in (
        ("page", files.page),
        ("pictures", f"{files.pictures[0].parent} ({len(files.pictures)})"),
        ("labels", f"{files.label_issues} ({len(issues)} issues)"),
    ):
        out.print(f"{title:<10}{path}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    run_command(main)
