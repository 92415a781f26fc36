"""Show what is retrieved for images, and which labels their neighbours doubt."""

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
from mmickd.gallery.backends import PictureWriter
from mmickd.gallery.class_names import class_names, classes_named
from mmickd.gallery.contexts import AFTER, BEFORE, ContextReader
from mmickd.gallery.label_issues import named_suspects
from mmickd.gallery.output import Gallery, Written, write_gallery
from mmickd.gallery.row_locator import GalleryBank
from mmickd.gallery.select_queries import images_by_chance, images_named
from mmickd.gallery.student_predictor import StudentPredictor
from mmickd.gallery.thumbnails import Thumbnails
from mmickd.teachers.checkpoint import load_checkpoint, state_dict_of
from mmickd.teachers.loading import load_strictly
from mmickd.utils.errors import ICKDError
from mmickd.utils.json_files import write_json
from mmickd.utils.modules import copy_model

EPILOG = """
It leaves in DIR: index.html (one file, to be opened in a browser, without network or server),
pictures/*.png (a query each), suspects.csv (image,label,suggested,score, the worst first); see
docs/gallery.md.

exit codes: 0 done, 2 it cannot run, 130 Ctrl-C
"""
BY_HEART = 0.99
"""Share of the labels that a teacher agrees with, above which it may know wrong ones by heart."""
WORST = 5
"""Label issues that are printed."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--checkpoint", metavar="STUDENT", help="trained student, to be asked beside the new one"
    )
    parser.add_argument(
        "--split", choices=["train", "val"], default="train", help="where queries come from (train)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--images", nargs="+", metavar="PATH",
        help="these images of the split, by their paths or the ends of these",
    )  # fmt: skip
    which.add_argument(
        "--count", type=positive_int, default=48,
        help="so many queries by chance, as many of each class as there are (48)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the choice of queries (0)")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="only queries of these")
    parser.add_argument(
        "--neighbours",
        type=positive_int,
        default=6,
        help="most positives, and negatives, shown (6)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder (WORK_DIR/gallery)")
    parser.add_argument(
        "--backends", action="store_true",
        help="also give the pictures to the config's visualizer.vis_backends (TensorBoard, ...)",
    )  # fmt: skip
    add_json_argument(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Collect, draw, write."""
    args = parse_args(argv)
    cfg = read_config(args.config, args.cfg_options)
    out = args.out or Path(cfg.work_dir) / "gallery"
    show = _backends(cfg, out) if args.backends else None
    with open_run(cfg) as run:
        gallery = collect(run, args, Path(args.config).stem)
    written = write_gallery(out, gallery, show)
    if args.json:
        write_json(args.json, _as_json(gallery, written))
    _report(gallery, written)


def collect(run: OpenRun, args: argparse.Namespace, title: str) -> Gallery:
    """All that is shown of a run.

    Args:
        run: up to its first step.
        args: of the command line.
        title: of the page.

    Raises:
        ICKDError: if the run has no frozen bank, or what was chosen is not there.
    """
    asked = GalleryBank.of(run.ready)
    splits = {"train": asked.images}
    if args.split == "val":
        splits["val"] = _validation_images(run)
    images = splits[args.split]
    dataset = run.runner.train_dataloader.dataset
    names = class_names(dataset, asked.bank.num_classes)
    classes = classes_named(args.classes, names)
    students = _students(run.student, run.ready.layer, args.checkpoint)
    reader = ContextReader(asked, args.neighbours, students, args.seed)
    if args.images:
        chosen = images_named(images, args.images, args.split)
        cases = reader.of_images(images, args.split, chosen, classes)
    else:
        order = images_by_chance(images, classes, args.seed)
        cases = reader.by_chance(images, args.split, order, args.count, classes)
    if not cases:
        raise ICKDError(
            f"nothing of the {args.split} split has one of the wanted classes: choose other "
            "--classes or --images."
        )
    facts = [
        f"{asked.level} level",
        f"{len(asked.bank):,} rows of {len(asked.images):,} training images",
        f"teacher layer {asked.teacher.layers}",
        f"queries of the {args.split} split",
        f"the teacher agrees with {_agreement(asked):.1%} of the rows' labels",
    ]
    album = Thumbnails(splits, asked.teacher.swaps_channels)
    return Gallery(title, facts, names, cases, named_suspects(asked.bank, reader.rows), album)


def _agreement(asked: GalleryBank) -> float:
    """Share of the rows whose label the teacher says; a warning where it may know them by heart."""
    bank = asked.bank
    share = float((bank.logits.argmax(dim=1) == bank.labels).double().mean())
    if share > BY_HEART and asked.teacher.features == "auto":
        print_log(
            f"the teacher agrees with {share:.1%} of the labels. If some are wrong, it may know "
            "them by heart, and its last features repeat them: for suspects.csv, retrieve by an "
            "earlier layer (--cfg-options custom_hooks.0.teacher.features=backbone.layer2)",
            logger="current",
            level=logging.WARNING,
        )
    return share


def _validation_images(run: OpenRun) -> BankImages:
    loader = getattr(run.runner, "val_dataloader", None)
    dataset = getattr(loader, "dataset", None)
    if dataset is None:
        raise ICKDError("--split val: the config has no val_dataloader.")
    pipelines = choose_pipelines(None, dataset, dataset, run.runner.cfg)
    return BankImages(dataset, *(pipeline.transforms for pipeline in pipelines))


def _students(
    student: nn.Module, layer: str, checkpoint: str | None
) -> Mapping[str, StudentPredictor]:
    """The student as the run would begin, and as it was trained."""
    voices = {BEFORE: StudentPredictor(student, layer)}
    if checkpoint is not None:
        trained = copy_model(student)
        state = state_dict_of(load_checkpoint(checkpoint, option="--checkpoint"))
        load_strictly(trained, state, f"--checkpoint '{checkpoint}'", "the student of the config")
        voices[AFTER] = StudentPredictor(trained, layer)
    return voices


def _backends(cfg: Config, out: Path) -> Callable[[int, Image.Image], None]:
    """Shows a picture in the backends of a config."""
    backends = (cfg.get("visualizer") or {}).get("vis_backends")
    if not backends:
        raise ICKDError(
            "--backends: the config has no visualizer.vis_backends. Give some, for example "
            "--cfg-options visualizer.vis_backends=\"[dict(type='TensorboardVisBackend')]\"."
        )
    try:
        visualizer = Visualizer("gallery", vis_backends=backends, save_dir=str(out))
        visualizer.add_config(cfg)  # backends begin when they are first used
    except Exception as error:  # whatever a backend's package raises, above all that it is missing
        raise ICKDError(
            f"--backends: visualizer.vis_backends cannot be opened ({type(error).__name__}: "
            f"{str(error)[:300]}). Install what they need, or leave them out."
        ) from error
    writer = PictureWriter(visualizer)
    return lambda number, drawn: writer.add("context", drawn, number)


def _as_json(gallery: Gallery, written: Written) -> dict[str, Any]:
    return {
        "page": str(written.page),
        "suspects": str(written.suspects),
        "classes": list(gallery.classes),
        "cases": [
            {"picture": str(file), **asdict(case)}
            for file, case in zip(written.pictures, gallery.cases, strict=True)
        ],
    }


def _report(gallery: Gallery, written: Written) -> None:
    rows = [
        (one.image, gallery.classes[one.label], gallery.classes[one.suggested], f"{one.score:.2f}")
        for one in gallery.doubted[:WORST]
    ]
    shown = console()
    if rows:
        head = ["image", "label", "suggested", "score"]
        shown.print(table("labels to look at first", head, rows))
        shown.print()
    for what, where in (
        ("page", written.page),
        ("pictures", f"{written.pictures[0].parent} ({len(written.pictures)})"),
        ("suspects", f"{written.suspects} ({len(gallery.doubted)} doubted)"),
    ):
        shown.print(f"{what:<10}{where}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    run_command(main)
