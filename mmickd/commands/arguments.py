"""Common arguments of commands, their configs, and the exit code of a command."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as torch_dist
from mmengine.config import Config, DictAction

from mmickd.utils.config import find_config
from mmickd.utils.errors import ICKDError
from mmickd.utils.packages import import_yapf, repair_scopes
from mmickd.utils.paths import expand_path, expand_paths

EMPTY_DATA = ("need at least one array to concatenate", "Found 0 files in subfolders")
"""Parts of the error messages for a data set without images, by numpy (mmengine) and mmpretrain."""


def positive_int(text: str) -> int:
    """Read an integer of at least 1; a ``type`` for argparse."""
    return integer(text, least=1)


def integer(text: str, least: int) -> int:
    """Read an integer of at least ``least``."""
    try:
        if int(text) >= least:
            return int(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"must be an integer of at least {least}, got '{text}'")


def positive_float(text: str) -> float:
    """Read a number above 0; a ``type`` for argparse."""
    number = non_negative_float(text)
    if number == 0:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got '{text}'")
    return number


def non_negative_float(text: str) -> float:
    """Read a number of at least 0; a ``type`` for argparse."""
    try:
        if float(text) >= 0:  # False for nan
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"must be a number of at least 0, got '{text}'")


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Add the positional argument ``config``."""
    parser.add_argument(
        "config",
        help="config file; a relative path is also looked up in the project and in the installed "
        "package",
    )


class _CfgOptions(DictAction):
    """Action for ``KEY=VALUE`` pairs; a word without ``=`` is a usage error."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        for pair in values:
            if "=" not in pair:
                parser.error(f"argument {option_string}: must be KEY=VALUE, got '{pair}'")
        super().__call__(parser, namespace, values, option_string)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options KEY=VALUE ...``."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=_CfgOptions,
        metavar="KEY=VALUE",
        help="override settings of the config; a list is written KEY='[a,b]' or KEY=a,b, a nested "
        "one KEY='[(a,b),(c,d)]' without spaces",
    )


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the config and ``--cfg-options``."""
    add_config_argument(parser)
    add_cfg_options(parser)


def add_launcher_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher``: the program that starts the processes."""
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="program that starts the processes (default: none, a single process)",
    )
    # torch.distributed.launch passes one of the two spellings, depending on its version
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the optional arguments that training and testing share."""
    parser.add_argument("--work-dir", help="folder for logs, checkpoints and metrics")
    parser.add_argument("--amp", action="store_true", help="use automatic mixed precision")
    for option in ("pin-memory", "persistent-workers"):
        parser.add_argument(
            f"--no-{option}",
            action="store_true",
            help=f"set {option.replace('-', '_')}=False in the dataloaders",
        )
    add_cfg_options(parser)
    add_launcher_argument(parser)


def load_run_config(args: argparse.Namespace) -> Config:
    """Read the config of a run, and merge the common arguments into it.

    Args:
        args: Arguments with ``config`` and those of :func:`add_common_arguments`.

    Raises:
        ICKDError: If the config cannot be found or read, or ``--cfg-options`` do not fit it.
    """
    cfg = load_launched_config(args)
    if args.work_dir is not None:
        cfg.work_dir = expand_path(args.work_dir)
    for split in ("train", "val", "test"):
        loader = cfg.get(f"{split}_dataloader")
        if isinstance(loader, dict):
            if args.no_pin_memory:
                loader["pin_memory"] = False
            if args.no_persistent_workers:
                loader["persistent_workers"] = False
    return cfg


def load_launched_config(args: argparse.Namespace) -> Config:
    """Read a config for one or several processes.

    Args:
        args: Arguments with ``config``, ``cfg_options`` and those of
            :func:`add_launcher_argument`.

    Raises:
        ICKDError: If the config cannot be found or read, or ``--cfg-options`` do not fit it.
    """
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    return cfg


def read_config(config: str, options: dict[str, Any] | None = None) -> Config:
    """Read the config of a run in one process, with the defaults of the stock tools.

    ``~`` and environment variables in its paths are expanded (:mod:`mmickd.utils.paths`).

    Args:
        config: Config file; a relative path is also looked up in the project and the package.
        options: Settings of ``--cfg-options``.

    Raises:
        ICKDError: If the config cannot be found or read, or the options do not fit it.
    """
    repair_scopes()
    import_yapf()
    file = find_config(config, "CONFIG")
    try:
        cfg = Config.fromfile(file)
        cfg.merge_from_dict(options or {})
        expand_paths(cfg._cfg_dict)
    except Exception as error:
        raise ICKDError(f"{file} cannot be read: {type(error).__name__}: {error}") from error
    cfg.launcher = "none"
    if cfg.get("work_dir") is None:
        cfg.work_dir = os.path.join("work_dirs", Path(file).stem)
    for split in ("train", "val", "test"):
        _set_loader_defaults(cfg, f"{split}_dataloader")
    return cfg


def _set_loader_defaults(cfg: Config, key: str) -> None:
    """Set the dataloader defaults of mmpretrain's tools; mmseg's tools have no such defaults."""
    loader = cfg.get(key)
    if not isinstance(loader, dict):
        return
    if cfg.get("default_scope") == "mmpretrain":
        loader.setdefault("pin_memory", torch.cuda.is_available())
        loader.setdefault("persistent_workers", loader.get("num_workers", 0) > 0)
        loader.setdefault("collate_fn", dict(type="default_collate"))
    # torch rejects persistent workers with num_workers=0, which --cfg-options may set
    if loader.get("num_workers", 0) == 0:
        loader["persistent_workers"] = False


def build_runner(cfg: Config) -> Any:
    """Build the runner of a config.

    Args:
        cfg: The whole config.
    """
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    return RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)


@contextmanager
def explain_empty_data() -> Iterator[None]:
    """Explain the error of a data set without images that is raised in the block.

    Raises:
        ICKDError: In place of the error of numpy or mmpretrain.
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if not any(text in str(error) for text in EMPTY_DATA):
            raise
        raise ICKDError(
            "a data set of the config has no image. Check data_root, data_prefix and ann_file of "
            "train_dataloader and val_dataloader, and for mmseg img_suffix ('.png', '.jpg') too."
        ) from error


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command and end the process.

    An :class:`ICKDError` ends it with its message and code 2, Ctrl-C with one line and code 130.

    Args:
        main: Function of the command; it may return an exit code.
    """
    try:
        code = main()
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr, flush=True)
        sys.exit(130)
    except ICKDError as error:
        rank = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))
        if rank == "0":  # once on each machine, since a file may be missing on one machine only
            print(f"\nerror: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    leave_ranks()
    if code:
        sys.exit(code)


def leave_ranks() -> None:
    """Destroy the process group before the process ends.

    The threads of an open gloo group would abort a process at its end (torch 2.11: 'terminate
    called without an active exception'), and the launcher would report a failed run.
    """
    if torch_dist.is_available() and torch_dist.is_initialized():
        gc.collect()  # runners and wrappers are reference cycles that hold the group
        torch_dist.destroy_process_group()
