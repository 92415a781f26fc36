"""Expansion of ``~`` and environment variables in paths."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mmengine.config import ConfigDict

_PATH_KEYS = {
    "ann_file", "cache_dir", "checkpoint", "data_prefix", "data_root", "load_from", "work_dir",
}  # fmt: skip


def expand_path(path: str | os.PathLike[str]) -> str:
    """Return the path with ``~``, ``$NAME`` and ``${NAME}`` replaced.

    Args:
        path: Path of a file or folder. URLs and variables that are not set are kept.
    """
    text = os.fspath(path)
    return text if "://" in text else os.path.expanduser(os.path.expandvars(text))


def expand_paths(config: Any) -> None:
    """Expand the paths of data sets, weights, caches and work dirs in a config, in place.

    mmengine and mmseg do not expand paths, mmpretrain expands ``~`` in some of them. After this
    call, all packages open the same files.

    Args:
        config: A config, or a part of one. The paths of ``data_root``, ``data_prefix``,
            ``ann_file``, ``checkpoint``, ``load_from``, ``cache_dir`` and ``work_dir`` are expanded
            at any depth, also in lists and dicts of paths.
    """
    if isinstance(config, Mapping):
        for key, value in list(config.items()):
            if isinstance(value, (str, os.PathLike)):
                if key in _PATH_KEYS:
                    config[key] = expand_path(value)  # type: ignore[index]
            elif key in _PATH_KEYS and _holds_paths(value):
                config[key] = _expanded(value)  # type: ignore[index]
            else:
                expand_paths(value)
    elif isinstance(config, (list, tuple)):
        for part in config:
            expand_paths(part)


def _holds_paths(value: Any) -> bool:
    """True if the value is a list or dict of paths; a dict with a ``type`` is a config."""
    return isinstance(value, (list, tuple)) or (isinstance(value, Mapping) and "type" not in value)


def _expanded(value: Any) -> Any:
    if isinstance(value, (str, os.PathLike)):
        return expand_path(value)
    if isinstance(value, Mapping):
        return ConfigDict({key: _expanded(path) for key, path in value.items()})
    if isinstance(value, (list, tuple)):
        return type(value)(_expanded(path) for path in value)
    return value
