"""Draws what a distilled run retrieves, and what the students of each method predict."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from drawing import draw_answers, draw_classes, draw_maps
from mmengine.config import Config, DictAction
from mmengine.runner import load_checkpoint
from opened_run import Opened
from retrieved import logits_grid, retrieve

from mmickd.experiments.training_log import last_checkpoint
from mmickd.utils.packages import repair_scopes

SHOWN = 8
LOOKED_AT = 200
"""Validation images among which those are looked for that the students disagree about."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config of the distilled run")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("--students", nargs="+", help="NAME=WORK_DIR of each student")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    return parser.parse_args(argv)


def picture_classes(opened: Opened, students: dict[str, Path], file: Path) -> None:
    """Images that the students disagree about, with every model's answer."""
    # The files are sorted by class: a stride takes a few of each.
    indices = range(0, len(opened.val_set), max(1, len(opened.val_set) // LOOKED_AT))
    samples = [opened.val_set[i] for i in indices]
    truth = [int(sample["data_samples"].gt_label) for sample in samples]
    view = opened.view(samples)
    best = view.logits[:, 0].float().softmax(1).max(1)
    said = {"teacher": (best.indices.tolist(), best.values.tolist())}
    for name, work_dir in students.items():
        load_checkpoint(opened.runner.model, str(last_checkpoint(work_dir)), map_location="cpu")
        scores = torch.stack([each.pred_score for each in opened.predict(samples)]).max(1)
        said[name] = (scores.indices.tolist(), scores.values.tolist())
    differ = [i for i in range(len(truth)) if len({said[name][0][i] for name in students}) > 1]
    others = [i for i in range(len(truth)) if i not in set(differ)]
    chosen = (differ[:: max(1, len(differ) // SHOWN)] + others[:: len(others) // SHOWN or 1])[
        :SHOWN
    ]
    draw_classes(
        [opened.image_path(opened.val_set, indices[i]) for i in chosen],
        [truth[i] for i in chosen],
        {n: ([p[i] for i in chosen], [s[i] for i in chosen]) for n, (p, s) in said.items()},
        opened.val_set.metainfo["classes"],
        file,
    )


def picture_maps(opened: Opened, students: dict[str, Path], file: Path) -> None:
    """The first images of the validation set, with every model's label map."""
    samples = [opened.val_set[i] for i in range(min(SHOWN, len(opened.val_set)))]
    truth = [sample["data_samples"].gt_sem_seg.data[0].numpy() for sample in samples]
    maps: dict[str, Sequence[np.ndarray]] = {"truth": truth}
    grids = torch.stack([logits_grid(logits) for logits in opened.view(samples).logits])
    upscaled = F.interpolate(grids.float(), size=truth[0].shape, mode="bilinear")
    maps["teacher"] = list(upscaled.argmax(1).numpy())
    for name, work_dir in students.items():
        load_checkpoint(opened.runner.model, str(last_checkpoint(work_dir)), map_location="cpu")
        maps[name] = [each.pred_sem_seg.data[0].numpy() for each in opened.predict(samples)]
    paths = [opened.image_path(opened.val_set, i) for i in range(len(samples))]
    draw_maps(paths, maps, opened.val_set.metainfo["palette"], file)


def main(argv: Sequence[str] | None = None) -> None:
    """Write ``retrieval.png`` and ``predictions.png``."""
    args = parse_args(argv)
    repair_scopes()
    options: dict[str, Any] = args.cfg_options
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(options)
    opened = Opened(cfg)
    print("teacher, data and memory bank are ready", flush=True)
    answers = retrieve(opened, SHOWN)
    draw_answers(answers, opened.val_set.metainfo["classes"], args.out / "retrieval.png")
    print(f"wrote {args.out / 'retrieval.png'}", flush=True)
    students = dict(entry.split("=", 1) for entry in args.students)
    paths = {name: Path(work_dir) for name, work_dir in students.items()}
    draw = picture_classes if "image" in opened.teacher.memory.banks else picture_maps
    draw(opened, paths, args.out / "predictions.png")
    print(f"wrote {args.out / 'predictions.png'}", flush=True)


if __name__ == "__main__":
    main()
