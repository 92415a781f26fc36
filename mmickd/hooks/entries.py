"""Entries of ``custom_hooks`` in a config."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmickd.hooks.ickd_hook import ICKDHook
from mmickd.registry import HOOKS
from mmickd.utils.config import type_name


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
