"""Train a model of mmsegmentation or mmpretrain, with or without distillation."""

import argparse
import os
import sys
from collections.abc import Sequence

from mmengine.config import Config

from mmickd.commands.arguments import (
    add_common_arguments,
    add_config_argument,
    build_runner,
    explain_empty_data,
    load_run_config,
    run_command,
)
from mmickd.commands.launching import check_amp, prepare_launch
from mmickd.hooks.needed_files import check_files
from mmickd.training.resuming import latest_checkpoint
from mmickd.utils.config import type_name
from mmickd.utils.errors import ICKDError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Train a classifier or a segmenter, distilled if the config has an ICKDHook"
    )
    add_config_argument(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="resume from CHECKPOINT (default: the latest checkpoint in the work dir)",
    )
    parser.add_argument("--no-validate", action="store_true", help="train without validation")
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="multiply the learning rate by batch size / auto_scale_lr.base_batch_size",
    )
    parser.add_argument("--seed", type=int, help="seed of the run (default: random)")
    parser.add_argument(
        "--deterministic", action="store_true", help="use only deterministic algorithms"
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
                "batch size that belongs to its learning rate."
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
    """Resume from the latest complete checkpoint in the work dir, if there is one."""
    latest = latest_checkpoint(cfg.work_dir)
    if latest.path is not None or not (latest.warning or cfg.get("load_from")):
        # without a warning, mmengine finds the same checkpoint
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
    """Run the command."""
    args = parse_args(argv)
    cfg = load_run_config(args)
    merge_args(cfg, args)
    check_files(cfg, splits=("train", "val"))
    check_amp(cfg)
    prepare_launch(cfg)
    with explain_empty_data():
        build_runner(cfg).train()


if __name__ == "__main__":
    run_command(main)
