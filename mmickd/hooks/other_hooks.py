"""What the hook asks of the other hooks of a run."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.logging import print_log
from mmengine.utils import get_installed_path

from mmickd.utils.config import type_name
from mmickd.utils.errors import ICKDError


def refuse_several(hooks: list[Hook], kind: type[Hook]) -> None:
    """A run has one teacher; of two entries each would replace the losses that the other gave.

    Args:
        hooks: of the run.
        kind: of ours.

    Raises:
        ICKDError: if two of them are.
    """
    count = sum(isinstance(hook, kind) for hook in hooks)
    if count > 1:
        raise ICKDError(
            f"custom_hooks has {count} entries of {kind.__name__}; several frozen teachers are not "
            "supported. Keep one entry (networks that learn together are one teacher: "
            "dict(type='OnlineTeacher', num_peers=...))."
        )


def warn_of_lost_hooks(hooks: list[Hook], filename: str | None, kind: type[Hook]) -> None:
    """Say which hooks of a base are gone since an entry of ours replaced them.

    Args:
        hooks: of the run.
        filename: of the run's config, if it is of a file.
        kind: of ours.
    """
    here = {type(hook).__name__ for hook in hooks}
    try:
        lost = [] if filename is None else list(_lost(filename, here, kind.__name__))
    except Exception:  # whatever a config file does: it is read again for a warning only
        return
    if lost:
        names = ", ".join(dict.fromkeys(name for name, _ in lost))
        inherited = (
            "custom_hooks" if Config._is_lazy_import(str(filename)) else "_base_.custom_hooks"
        )
        print_log(
            f"{names} of {lost[0][1]} will not run: custom_hooks = [...] replaces the list of a "
            f"base config. To keep them, write custom_hooks = [*{inherited}, "
            f"dict(type='mmickd.{kind.__name__}', ...)].",
            logger="current",
            level=logging.WARNING,
        )


def _lost(filename: str, here: set[str], ours: str) -> Iterator[tuple[str, str]]:
    """Names of hooks that are not here, and the config below our entry that has them."""
    entries = [
        type_name(entry["type"]) for entry in Config.fromfile(filename).get("custom_hooks", [])
    ]
    if ours not in entries:
        yield from ((name, filename) for name in entries if name not in here)
        return
    for base in _bases(filename):
        yield from _lost(base, here, ours)


def _bases(filename: str) -> Iterator[str]:
    """Files that a config file inherits from, by ``_base_`` or by ``read_base()``."""
    if not Config._is_lazy_import(filename):
        for base in Config._get_base_files(filename):
            yield Config._get_cfg_path(base, filename)[0]
        return
    nodes = ast.parse(Path(filename).read_text(encoding="utf-8")).body
    for module in Config._get_base_modules(nodes):
        above = len(module) - len(module.lstrip("."))
        package, *names = module.lstrip(".").split(".")
        if above:
            folder = Path(filename).parent.joinpath(*[".."] * (above - 1), package)
        else:
            folder = Path(get_installed_path(package))
        yield f"{folder.joinpath(*names)}.py"


def is_read_now(runner: Any, batch_idx: int) -> bool:
    """Whether a line of the log or a checkpoint is due after this iteration; alike on all ranks.

    Args:
        runner: after a training iteration.
        batch_idx: of it, as hooks get it.
    """
    for hook in runner.hooks:
        if isinstance(hook, LoggerHook) and hook.every_n_inner_iters(batch_idx, hook.interval):
            return True
        if (
            isinstance(hook, CheckpointHook)
            and not hook.by_epoch
            and hook.every_n_train_iters(runner, hook.interval, hook.save_begin)
        ):
            return True
    return runner.iter + 1 >= runner.max_iters
