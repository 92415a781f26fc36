"""Other hooks of a run: further ICKDHooks, lost hooks of base configs, due logs and checkpoints."""

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
    """Check that a run has at most one hook of a class; two would replace each other's losses.

    Args:
        hooks: All hooks of the run.
        kind: Class of the hook.

    Raises:
        ICKDError: If there are several hooks of the class.
    """
    count = sum(isinstance(hook, kind) for hook in hooks)
    if count > 1:
        raise ICKDError(
            f"custom_hooks has {count} entries of {kind.__name__}; several frozen teachers are not "
            "supported. Keep one entry (peers belong to one teacher: "
            "dict(type='OnlineTeacher', num_peers=...))."
        )


def lost_hook_findings(
    hooks: list[Hook], filename: str | None, kind: type[Hook]
) -> Iterator[Finding]:
    """Yield a finding if the entry of a hook in ``custom_hooks`` replaced hooks of a base config.

    Args:
        hooks: All hooks of the run.
        filename: File of the run's config; None if it was not read from a file.
        kind: Class of the hook.
    """
    names = {type(hook).__name__ for hook in hooks}
    try:
        lost = [] if filename is None else list(_lost(filename, names, kind.__name__))
    except Exception:  # any error of a config file, which is read only for a warning here
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


def _lost(filename: str, present: set[str], name: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each lost hook, and the config file that defines it."""
    entries = [
        type_name(entry["type"]) for entry in Config.fromfile(filename).get("custom_hooks", [])
    ]
    if name not in entries:
        yield from ((entry, filename) for entry in entries if entry not in present)
        return
    for base in _bases(filename):
        yield from _lost(base, present, name)


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
    """True if a log line or a checkpoint is due after this iteration; equal on all ranks.

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
