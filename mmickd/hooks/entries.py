"""Entries of ``custom_hooks`` in a config."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from mmickd.hooks.ickd_hook import ICKDHook
from mmickd.registry import HOOKS
from mmickd.training.options import HookOptions
from mmickd.utils.config import type_name
from mmickd.utils.errors import ICKDError


def is_own(entry: Any) -> bool:
    """True if an entry is an :class:`~mmickd.hooks.ICKDHook`, or of a class derived from it.

    Args:
        entry: entry of ``custom_hooks``; its ``type`` is a name, the class itself, or the path by
            which the class is imported.

    Example:
        >>> is_own(dict(type="mmickd.ICKDHook")), is_own(dict(type="EMAHook")), is_own("EMAHook")
        (True, False, False)
    """
    if not isinstance(entry, Mapping):
        return False
    kind = entry.get("type")
    if type_name(kind) == ICKDHook.__name__:
        return True
    if isinstance(kind, str):
        try:
            kind = HOOKS.get(kind)
        except Exception:  # the run reports it when it builds the hook
            return False
    return inspect.isclass(kind) and issubclass(kind, ICKDHook)


def hook_options(cfg: Config) -> HookOptions:
    """The options of the config's hook, checked.

    Raises:
        ICKDError: if there is no such hook, or more than one, or an option is wrong.
    """
    entry = {name: value for name, value in hook_entry(cfg).items() if name != "priority"}
    hook: ICKDHook = HOOKS.build(entry)
    return hook.options


def set_hook_options(cfg: Config, **groups: dict[str, Any]) -> None:
    """Change options of the config's hook.

    Args:
        cfg: the whole config, with one :class:`~mmickd.ICKDHook`. It gets a new list
            ``custom_hooks``; a config that ``cfg`` is a shallow copy of keeps its own.
        groups: by name of an option of the hook that is a dict ('bank', 'losses', ...), entries
            that it shall have; what is given of others stays.

    Raises:
        ICKDError: if there is no such hook, or more than one.
    """
    entry = hook_entry(cfg)
    changed = entry.copy()
    for name, options in groups.items():
        changed[name] = {**(entry.get(name) or {}), **options}
    cfg.custom_hooks = [changed if hook is entry else hook for hook in cfg.custom_hooks]


def hook_entry(cfg: Config) -> Any:
    """The config's own entry of :class:`~mmickd.ICKDHook`.

    Raises:
        ICKDError: if there is none, or more than one.
    """
    hooks = [hook for hook in cfg.get("custom_hooks") or () if isinstance(hook, dict)]
    entries = [hook for hook in hooks if is_own(hook)]
    if len(entries) != 1:
        raise ICKDError(
            f"{cfg.filename or 'the config'} has {len(entries) or 'no'} entries of ICKDHook in "
            "custom_hooks, where exactly one is needed: it is what this command looks at."
        )
    return entries[0]
