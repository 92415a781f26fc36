"""Measure the time and memory that the hook adds to a training step, on small synthetic data.

    python benchmarks/step_cost.py --steps 40

Each row is a run in a separate process: the same student and batches without the hook, with KD
alone, and with in-context distillation (which includes KD). A step is the whole ``train_step``
(forward, losses, backward, optimizer), without data loading, logging, validation and building the
bank.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

KD_ONLY = dict(kd=dict(), picd=None, nicd=None)
ROWS: dict[str, list[tuple[str, dict[str, Any] | None]]] = {
    "classifier": [
        ("no hook", None),
        ("KD", dict(losses=KD_ONLY)),
        ("IC-KD, image", dict(level="image")),
    ],
    "segmenter": [
        ("no hook", None),
        ("KD", dict(losses=KD_ONLY)),
        ("IC-KD, pixel", dict(level="pixel")),
        ("IC-KD, region", dict(level="region")),
        ("IC-KD, pixel + region", dict(level=["pixel", "region"])),
    ],
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=list(ROWS), action="append", help="default: both")
    parser.add_argument("--steps", type=int, default=40, help="timed steps of a run")
    parser.add_argument("--warmup", type=int, default=5, help="steps before the timed ones")
    parser.add_argument("--repeats", type=int, default=3, help="runs per row; the best is reported")
    parser.add_argument("--width", type=int, default=16, help="base channels of the student")
    parser.add_argument("--images", type=int, default=60, help="training images (per class)")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="also write the rows to this JSON file")
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def make_data(folder: Path, args: argparse.Namespace) -> None:
    """Write images and a random teacher twice as wide as the student, for both models."""
    from mmengine.logging import MMLogger

    from tests.helpers.tiny import make_class_folders, make_scenes, save_teacher

    MMLogger.get_instance("mmengine", log_level="WARNING")
    make_class_folders(folder / "classifier", per_class=args.images)
    make_scenes(folder / "segmenter", count=args.images)
    for model in args.model or ROWS:
        save_teacher(config(model, folder, args, 2), folder / f"{model}.pth", seed=args.seed)


def config(model: str, folder: Path, args: argparse.Namespace, factor: int = 1) -> Any:
    from tests.helpers.tiny import classifier_config, segmenter_config

    make = classifier_config if model == "classifier" else segmenter_config
    cfg = make(folder / model, folder / "work", args.width * factor, args.steps + args.warmup)
    cfg.train_dataloader.update(
        batch_size=args.batch_size, sampler=dict(type="InfiniteSampler", shuffle=True)
    )
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.randomness.seed = args.seed
    cfg.default_hooks.checkpoint = None
    cfg.default_hooks.logger.interval = 10**6
    return cfg


def measure(model: str, row: int, args: argparse.Namespace) -> dict[str, float]:
    """Return the milliseconds of the median step of a run, and the peak resident memory in MiB."""
    import torch

    from tests.helpers.tiny import build, plain_config_text, with_hook

    torch.set_num_threads(args.threads)
    cfg = config(model, args.folder, args)
    options = ROWS[model][row][1]
    if options is not None:
        teacher = config(model, args.folder, args, 2)
        checkpoint = args.folder / f"{model}.pth"
        cfg = with_hook(cfg, teacher, checkpoint, bank=dict(cache_dir=None), **options)
    runner = build(cfg)
    seconds: list[float] = []
    train_step = runner.model.train_step

    def timed_step(*args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        outputs = train_step(*args, **kwargs)
        seconds.append(time.perf_counter() - begin)
        return outputs

    runner.model.train_step = timed_step
    with plain_config_text():
        runner.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )
    return {"ms": 1000 * statistics.median(seconds[args.warmup :]), "mib": peak}


def run_rows(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Run all rows in turn, and repeat, so that a slow phase of the machine affects all rows."""
    runs: dict[tuple[str, int], list[dict[str, float]]] = {}
    for _ in range(args.repeats):
        for model in args.model or ROWS:
            for row in range(len(ROWS[model])):
                words = [sys.executable, __file__, "--model", model, "--row", str(row)]
                for name in ("steps", "warmup", "width", "images", "batch_size", "threads", "seed"):
                    words += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
                words += ["--folder", str(folder)]
                process = subprocess.run(words, capture_output=True, text=True)
                if process.returncode:
                    sys.exit(f"{ROWS[model][row][0]} failed:\n{process.stderr[-3000:]}")
                result = json.loads(process.stdout.splitlines()[-1])
                runs.setdefault((model, row), []).append(result)
    rows = []
    for (model, row), results in runs.items():
        best = {key: min(result[key] for result in results) for key in ("ms", "mib")}
        rows.append(dict(model=model, run=ROWS[model][row][0], **best))
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    print(f"{'model':12}{'run':24}{'ms/step':>10}{'added':>10}{'peak MiB':>10}{'added':>10}")
    base: dict[str, Any] = {}
    for row in rows:
        if row["run"] == "no hook":
            base = row
        more_ms, more_mib = row["ms"] - base["ms"], row["mib"] - base["mib"]
        print(
            f"{row['model']:12}{row['run']:24}{row['ms']:10.1f}{more_ms:+10.1f}"
            f"{row['mib']:10.0f}{more_mib:+10.0f}"
        )


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    if args.row is not None:
        print(json.dumps(measure(args.model[0], args.row, args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder), args)
        rows = run_rows(args, Path(folder))
    print_table(rows)
    if args.out:
        args.out.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
