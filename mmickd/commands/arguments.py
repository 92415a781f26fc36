"""Arguments that commands share, the config that they mean, and how a command ends."""

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

_OPTIONS_HELP = (
    "override settings of the config: KEY=VALUE pairs, lists as KEY='[a,b]' or KEY=a,b, nested "
    "ones as KEY='[(a,b),(c,d)]' without white space"
)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing share.

    Args:
        parser: the parser to extend.
    """
    parser.add_argument("--work-dir", help="folder for logs, checkpoints and metrics")
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision")
    parser.add_argument(
        "--no-pin-memory", action="store_true", help="switch pin_memory off in the dataloaders"
    )
    parser.add_argument(
        "--no-persistent-workers",
        action="store_true",
        help="switch persistent_workers off in the dataloaders",
    )
    add_cfg_options(parser)
    add_launcher_argument(parser)


def add_launcher_argument(parser: argparse.ArgumentParser) -> None:
    """Add what says who starts the processes.

    Args:
        parser: the parser to extend.
    """
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="job launcher",
    )
    # torch.distributed.launch passes the one or the other, by its version
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def load_run_config(args: argparse.Namespace) -> Config:
    """The config of a run, with the common arguments merged into it.

    Args:
        args: with ``config`` and what :func:`add_common_arguments` defines.

    Raises:
        ICKDError: if the config cannot be found or read, or ``--cfg-options`` do not fit it.
    """
    cfg = load_launched_config(args)
    if args.work_dir is not None:
        cfg.work_dir = expand_path(args.work_dir)
    for split in ("train", "val", "test"):
        _switch_off(cfg.get(f"{split}_dataloader"), args)
    return cfg


def load_launched_config(args: argparse.Namespace) -> Config:
    """The config of several processes, or of one.

    Args:
        args: with ``config``, ``cfg_options`` and what :func:`add_launcher_argument` defines.

    Raises:
        ICKDError: if the config cannot be found or read, or ``--cfg-options`` do not fit it.
    """
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    return cfg


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of commands that look at a run: the config, and what changes it.

    Args:
        parser: the parser to extend.
    """
    parser.add_argument(
        "config", help="config file, also relative to the project or the installed package"
    )
    add_cfg_options(parser)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options KEY=VALUE ...``.

    Args:
        parser: the parser to extend.
    """
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help=_OPTIONS_HELP)


def read_config(config: str, options: dict[str, Any] | None = None) -> Config:
    """The config of a run of one process, with the defaults of the stock tools.

    ``~`` and environment variables in its paths are expanded (:mod:`mmickd.utils.paths`).

    Args:
        config: file, also relative to the project or the installed package.
        options: of ``--cfg-options``.

    Raises:
        ICKDError: if the config cannot be found or read, or the options do not fit it.
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
    """Fill in the dataloader defaults of mmpretrain's own tools."""
    loader = cfg.get(key)
    if not isinstance(loader, dict):
        return
    if cfg.get("default_scope") == "mmpretrain":
        loader.setdefault("pin_memory", torch.cuda.is_available())
        loader.setdefault("persistent_workers", loader.get("num_workers", 0) > 0)
        loader.setdefault("collate_fn", dict(type="default_collate"))
    # torch refuses persistent workers where there is no worker, as with num_workers=0 given by hand
    if loader.get("num_workers", 0) == 0:
        loader["persistent_workers"] = False


def _switch_off(loader: Any, args: argparse.Namespace) -> None:
    """What the common arguments switch off in a dataloader."""
    if not isinstance(loader, dict):
        return
    if args.no_pin_memory:
        loader["pin_memory"] = False
    if args.no_persistent_workers:
        loader["persistent_workers"] = False


def build_runner(cfg: Config) -> Any:
    """The runner that ``cfg`` asks for.

    Args:
        cfg: the whole config.
    """
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    return RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)


@contextmanager
def explained_empty_data() -> Iterator[None]:
    """Say what mmengine means where a data set has no image.

    Raises:
        ICKDError: in the place of numpy's words.
    """
    try:
        yield
    except ValueError as error:
        if "need at least one array to concatenate" not in str(error):
            raise
        raise ICKDError(
            "a data set of the config finds no image. Check data_root, data_prefix and ann_file of "
            "train_dataloader and val_dataloader, and for mmseg img_suffix ('.png', '.jpg') too."
        ) from error


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command and end the process.

    With code 2 and a plain message on :class:`ICKDError`, with 130 and one line on Ctrl-C.

    Args:
        main: the work of the command; it may return an exit code.
    """
    try:
        code = main()
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr, flush=True)
        sys.exit(130)
    except ICKDError as error:
        rank = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))
        if rank == "0":  # once per machine: the files of another one may be what is missing
            print(f"\nerror: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    leave_ranks()
    if code:
        sys.exit(code)


def leave_ranks() -> None:
    """End distributed training before the process ends.

    The threads of a gloo group that is still there abort a process that has done all of its work
    (torch 2.11: 'terminate called without an active exception'), and the launcher takes the run for
    failed.
    """
    if torch_dist.is_available() and torch_dist.is_initialized():
        gc.collect()  # what still holds the group: runners and wrappers are knots of references
        torch_dist.destroy_process_group()
