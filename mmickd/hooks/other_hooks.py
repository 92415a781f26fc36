"""The other hooks of a run: several of ours, lost ones, and when the log is written."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.utils import get_installed_path

from mmickd.diagnostics.finding import Finding
from mmickd.utils.config import type_name
from mmickd.utils.errors import ICKDError


def refuse_several(hooks: list[Hook], kind: type[Hook]) -> None:
    """Check that a run has one hook of a kind; two would replace each other's losses.

    Args:
        hooks: All hooks of the run.
        kind: Class of our hook.

    Raises:
        ICKDError: If there are several.
    """
    count = sum(isinstance(hook, kind) for hook in hooks)
    if count > 1:
        raise ICKDError(
            f"custom_hooks has {count} entries of {kind.__name__}; several frozen teachers are not "
            "supported. Keep one entry (networks that learn together are one teacher: "
            "dict(type='OnlineTeacher', num_peers=...))."
        )


def lost_hook_findings(
    hooks: list[Hook], filename: str | None, kind: type[Hook]
) -> Iterator[Finding]:
    """Yield a finding if our entry of ``custom_hooks`` replaced hooks of a base config.

    Args:
        hooks: All hooks of the run.
        filename: File of the run's config; None if it was not read from a file.
        kind: Class of our hook.
    """
    names = {type(hook).__name__ for hook in hooks}
    try:
        lost = [] if filename is None else list(_lost(filename, names, kind.__name__))
    except Exception:  # whatever a config file raises: it is read again for a warning only
        return
    if lost:
        inherited = (
            "custom_hooks" if Config._is_lazy_import(str(filename)) else "_base_.custom_hooks"
        )
        yield Finding(
            "lost_hooks",
            "warning",
            f"{', '.join(dict.fromkeys(name for name, _ in lost))} of {lost[0][1]} will not run: "
            "custom_hooks = [...] replaces the list of a base config. To keep them, write "
            f"custom_hooks = [*{inherited}, dict(type='mmickd.{kind.__name__}', ...)].",
        )


def _lost(filename: str, present: set[str], ours: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each hook that is lost, and the config that our entry replaced."""
    entries = [
        type_name(entry["type"]) for entry in Config.fromfile(filename).get("custom_hooks", [])
    ]
    if ours not in entries:
        yield from ((name, filename) for name in entries if name not in present)
        return
    for base in _bases(filename):
        yield from _lost(base, present, ours)


def _bases(filename: str) -> Iterator[str]:
    """Yield the files that a config file inherits from, by ``_base_`` or by ``read_base()``."""
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


def is_log_due(runner: Any, batch_idx: int) -> bool:
    """True if a line of the log or a checkpoint is due after this iteration, on all ranks alike.

    Args:
        runner: The runner, after a training iteration.
        batch_idx: Index of the batch, as hooks get it.
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
