"""Train any model of mmsegmentation or mmpretrain, with or without distillation."""

import argparse
import os
import sys
from collections.abc import Sequence

from mmengine.config import Config

from mmickd.commands.arguments import (
    add_common_arguments,
    build_runner,
    explained_empty_data,
    load_run_config,
    run_command,
)
from mmickd.commands.launching import check_amp, prepare_launch
from mmickd.commands.needed_files import check_files
from mmickd.commands.resuming import latest_checkpoint
from mmickd.utils.config import type_name
from mmickd.utils.errors import ICKDError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Train a classifier or a segmenter, distilled if the config has an ICKDHook"
    )
    parser.add_argument(
        "config", help="config file, also relative to the project or the installed package"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="resume from this checkpoint, or from the latest one in the work dir if none is given",
    )
    parser.add_argument("--no-validate", action="store_true", help="do not validate while training")
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate by actual over original batch size",
    )
    parser.add_argument("--seed", type=int, help="seed of the run; at random if not given")
    parser.add_argument(
        "--deterministic", action="store_true", help="use deterministic algorithms only"
    )
    add_common_arguments(parser)
    return parser.parse_args(argv)


def merge_args(cfg: Config, args: argparse.Namespace) -> None:
    """Merge the arguments of training into ``cfg``."""
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        enable_amp(cfg)
    if args.resume == "auto":
        resume_latest(cfg)
    elif args.resume is not None:
        cfg.resume, cfg.load_from = True, args.resume
    if args.auto_scale_lr:
        if "base_batch_size" not in (cfg.get("auto_scale_lr") or {}):
            raise ICKDError(
                "--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the config: the "
                "batch size that its learning rate was chosen for."
            )
        cfg.auto_scale_lr.enable = True
    if args.seed is not None or args.deterministic:
        randomness = {"seed": None, **(cfg.get("randomness") or {})}
        if args.seed is not None:
            randomness["seed"] = args.seed
        if args.deterministic:
            randomness["deterministic"] = True
        cfg.randomness = randomness


def resume_latest(cfg: Config) -> None:
    """Resume from the latest complete checkpoint in the work dir, else start as ``cfg`` says."""
    latest = latest_checkpoint(cfg.work_dir)
    if latest.path is not None or not (latest.warning or cfg.get("load_from")):
        # mmengine looks by itself where it would find the same
        cfg.resume, cfg.load_from = True, latest.path if latest.warning else None
    if latest.warning and os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"warning: {latest.warning}", file=sys.stderr, flush=True)


def enable_amp(cfg: Config) -> None:
    """Switch mixed precision on in the optimizer wrapper."""
    kind = type_name(cfg.optim_wrapper.get("type", "OptimWrapper"))
    if kind not in ("OptimWrapper", "AmpOptimWrapper"):
        raise ICKDError(
            f"--amp works with optim_wrapper.type='OptimWrapper', the config has '{kind}'."
        )
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    cfg.optim_wrapper.setdefault("loss_scale", "dynamic")


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    args = parse_args(argv)
    cfg = load_run_config(args)
    merge_args(cfg, args)
    check_files(cfg, splits=("train", "val"))
    check_amp(cfg)
    prepare_launch(cfg)
    with explained_empty_data():
        build_runner(cfg).train()


if __name__ == "__main__":
    run_command(main)
