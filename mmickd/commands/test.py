"""Test a checkpoint of a model of mmsegmentation or mmpretrain."""

import argparse
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import mmengine
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import DumpResults

from mmickd.commands.arguments import (
    add_common_arguments,
    add_config_argument,
    build_runner,
    load_run_config,
    positive_int,
    run_command,
)
from mmickd.commands.launching import prepare_launch
from mmickd.hooks.needed_files import check_files
from mmickd.utils.config import is_segmentation, type_name
from mmickd.utils.errors import ICKDError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Test a checkpoint of a classifier or a segmenter")
    add_config_argument(parser)
    parser.add_argument("checkpoint", help="checkpoint file or URL")
    parser.add_argument(
        "--out",
        help="folder for the predicted label maps (segmenter), or file of the results (classifier)",
    )
    parser.add_argument(
        "--out-item", choices=["metrics", "pred"], help="content of --out of a classifier"
    )
    parser.add_argument("--dump", metavar="FILE.pkl", help="file for all predictions")
    parser.add_argument("--show", action="store_true", help="show the predictions in a window")
    parser.add_argument("--show-dir", help="folder for images with the predictions")
    parser.add_argument(
        "--interval", type=positive_int, default=1, metavar="N", help="draw every Nth image (1)"
    )
    parser.add_argument(
        "--wait-time", type=float, default=2, metavar="SECONDS", help="time to show a window (2)"
    )
    parser.add_argument("--tta", action="store_true", help="use test-time augmentation")
    add_common_arguments(parser)
    args = parser.parse_args(argv)
    if args.out_item and not args.out:
        parser.error("--out-item needs --out")
    if args.dump and not args.dump.endswith((".pkl", ".pickle")):
        parser.error("--dump needs a name that ends in .pkl or .pickle")
    return args


def merge_args(cfg: Config, args: argparse.Namespace) -> None:
    """Merge the arguments of testing into ``cfg``.

    Raises:
        ICKDError: If ``cfg`` has no test set, or lacks a setting that an argument needs.
    """
    check_test_set(cfg)
    cfg.load_from = args.checkpoint
    if args.amp:
        cfg.test_cfg.fp16 = True
    if args.show or args.show_dir:
        enable_visualization(cfg, args)
    if args.tta:
        enable_tta(cfg)
    if args.out and is_segmentation(cfg):
        evaluators = cfg.test_evaluator
        for evaluator in evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]:
            if type_name(evaluator.get("type")).endswith("IoUMetric"):
                evaluator["output_dir"] = args.out
                evaluator["keep_results"] = True


def check_test_set(cfg: Config) -> None:
    """Check that a config has a test set.

    Raises:
        ICKDError: If ``test_dataloader``, ``test_evaluator`` or ``test_cfg`` is missing or None.
    """
    parts = ("test_dataloader", "test_evaluator", "test_cfg")
    missing = [part for part in parts if cfg.get(part) is None]
    if missing:
        raise ICKDError(
            f"{cfg.filename or 'the config'} has no {', no '.join(missing)}, so there is nothing "
            "to test on. Set them in the config; to test on the validation set: test_dataloader = "
            "val_dataloader, test_evaluator = val_evaluator, test_cfg = dict()."
        )


def enable_visualization(cfg: Config, args: argparse.Namespace) -> None:
    """Switch the visualization hook on, whose options differ between mmseg and mmpretrain."""
    hook = (cfg.get("default_hooks") or {}).get("visualization")
    if hook is None:
        raise ICKDError(
            "--show and --show-dir need default_hooks.visualization=dict(type="
            f"'{'SegVisualizationHook' if is_segmentation(cfg) else 'VisualizationHook'}')."
        )
    hook.interval = args.interval
    if args.show:
        hook.show = True
        hook.wait_time = args.wait_time
    if is_segmentation(cfg):
        hook.draw = True
        if args.show_dir:
            if cfg.get("visualizer") is None:
                raise ICKDError("--show-dir needs visualizer=dict(type='SegLocalVisualizer').")
            cfg.visualizer.save_dir = args.show_dir
    else:
        hook.enable = True
        if args.show_dir:
            hook.out_dir = args.show_dir


def enable_tta(cfg: Config) -> None:
    """Wrap the model and change the pipeline; without ``tta_*`` settings, images are flipped.

    Raises:
        ICKDError: If a segmenter has no ``tta_*`` settings, or the data set has no pipeline.
    """
    pipeline: Any = cfg.get("tta_pipeline")
    model: Any = cfg.get("tta_model")
    missing = [key for key in ("tta_model", "tta_pipeline") if cfg.get(key) is None]
    if is_segmentation(cfg) and missing:
        raise ICKDError(
            f"--tta needs {' and '.join(missing)} in the config of a segmenter: {cfg.filename} has "
            "none. Add them, or remove --tta."
        )
    dataset = cfg.test_dataloader.dataset
    if not dataset.get("pipeline"):
        raise ICKDError(
            "--tta changes test_dataloader.dataset.pipeline, which is missing or empty (a "
            f"{type_name(dataset.get('type'))} is the test set). Test its parts one by one."
        )
    if model is None:
        model = dict(type="mmpretrain.AverageClsScoreTTA")
    if pipeline is None:
        pipeline = deepcopy(dataset.pipeline)
        flips = [dict(type="RandomFlip", prob=1.0), dict(type="RandomFlip", prob=0.0)]
        pipeline[-1] = dict(type="TestTimeAug", transforms=[flips, [pipeline[-1]]])
    dataset.pipeline = pipeline
    wrapped = ConfigDict(model)  # with **model, classes would be dumped as bare names
    wrapped.module = cfg.model
    cfg.model = wrapped


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    cfg = load_run_config(args)
    merge_args(cfg, args)
    # a test needs neither teacher nor initial weights
    check_files({k: v for k, v in cfg.items() if k not in ("custom_hooks", "model")}, ("test",))
    prepare_launch(cfg)
    runner = build_runner(cfg)
    as_file = args.out if args.out and not is_segmentation(cfg) else None
    for path in filter(None, [args.dump, as_file if args.out_item != "metrics" else None]):
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=path))
    metrics = runner.test()
    if as_file and args.out_item == "metrics" and runner.rank == 0:
        mmengine.dump(metrics, as_file)


if __name__ == "__main__":
    run_command(main)
