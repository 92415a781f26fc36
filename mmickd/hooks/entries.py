"""Entries of ICKDHook in ``custom_hooks`` of a config."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from mmickd.hooks.ickd_hook import ICKDHook
from mmickd.registry import HOOKS
from mmickd.utils.config import type_name
from mmickd.utils.errors import ICKDError


def is_ickd_hook(entry: Any) -> bool:
    """True if an entry is for :class:`~mmickd.hooks.ICKDHook` or a class derived from it.

    Args:
        entry: Entry of ``custom_hooks``; its ``type`` is a name, the class, or the import path of
            the class.

    Example:
        >>> entries = dict(type="mmickd.ICKDHook"), dict(type="EMAHook"), "EMAHook"
        >>> [is_ickd_hook(entry) for entry in entries]
        [True, False, False]
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


def hook_entry(cfg: Config) -> Any:
    """Return the config's entry of :class:`~mmickd.ICKDHook`.

    Raises:
        ICKDError: If there is no entry, or more than one.
    """
    hooks = [hook for hook in cfg.get("custom_hooks") or () if isinstance(hook, dict)]
    entries = [hook for hook in hooks if is_ickd_hook(hook)]
    if len(entries) != 1:
        raise ICKDError(
            f"{cfg.filename or 'the config'} has {len(entries) or 'no'} entries of ICKDHook in "
            "custom_hooks: this command needs exactly one."
        )
    return entries[0]
