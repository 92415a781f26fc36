"""Check that the data sets and checkpoints of a config exist, before anything is built."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmickd.hooks.entries import is_ickd_hook
from mmickd.utils.config import find_config, type_name
from mmickd.utils.errors import ICKDError

_CIFAR_FOLDERS = {"CIFAR10": "cifar-10-batches-py", "CIFAR100": "cifar-100-python"}
_DOWNLOADABLE = {*_CIFAR_FOLDERS, "MNIST", "FashionMNIST"}
"""Data sets that download themselves unless ``download=False``."""
_LOCAL_BACKENDS = {"local", "disk"}
"""Names of the local disk in mmengine's file backends and older file clients."""


@dataclass(frozen=True)
class NeededPath:
    """Path that a config needs.

    Args:
        key: Key in the config, as for ``--cfg-options``.
        path: The path as it will be opened.
        kind: ``'data'``, ``'checkpoint'`` or ``'config'``; a config may have hints for data and
            checkpoints.
    """

    key: str
    path: str
    kind: str

    @property
    def exists(self) -> bool:
        """True if the path exists and is no empty folder; True for remote paths."""
        if _is_remote(self.path):
            return True
        path = self.path
        return os.path.exists(path) and not (os.path.isdir(path) and not os.listdir(path))


def check_files(cfg: Mapping[str, Any], splits: Sequence[str] = ("train", "val")) -> None:
    """Check that the data sets and checkpoints of a config exist.

    Args:
        cfg: The whole config, with paths expanded. Its optional strings ``data_hint`` and
            ``checkpoint_hint`` explain how to get missing files.
        splits: Splits whose data sets are checked, unless the config switches them off.

    Raises:
        ICKDError: If paths are missing; with all of them, their keys and the hints. URLs and file
            backends other than the local disk are not checked.
    """
    missing: dict[str, list[NeededPath]] = {}
    for need in (*needed_files(cfg, splits), *_teacher_configs(cfg)):
        if need.kind == "config" or not need.exists:
            missing.setdefault(need.path, []).append(need)
    if not missing:
        return
    lines = ["This config needs files or folders that are missing or empty:"]
    for path, needs in missing.items():
        keys = ", ".join(dict.fromkeys(need.key for need in needs))
        lines.append(f"  {path}  (from {keys})")
    if any(not os.path.isabs(path) for path in missing):
        lines.append(f"  relative to the working directory {os.getcwd()}")
    if any("$" in path for path in missing):
        lines.append("  ($NAME stays as it is if no environment variable NAME is set)")
    kinds = {need.kind for needs in missing.values() for need in needs}
    for kind in sorted(kinds & {"data", "checkpoint"}, reverse=True):
        hint = cfg.get(f"{kind}_hint")
        if hint:
            lines.append(f"To get the {kind}: {hint}")
    lines.append("If a file is elsewhere, link it or set its key with --cfg-options KEY=PATH.")
    raise ICKDError(*lines)


def needed_files(cfg: Mapping[str, Any], splits: Sequence[str]) -> Iterator[NeededPath]:
    """Yield every path of data sets, initial weights and teacher checkpoints in a config.

    Args:
        cfg: The whole config.
        splits: Some of ``'train'``, ``'val'``, ``'test'``.
    """
    for split in splits:
        if cfg.get(f"{split}_cfg", True) is None:
            continue
        key = f"{split}_dataloader"
        loaders = cfg.get(key)
        loaders = loaders if isinstance(loaders, (list, tuple)) else [loaders]
        for index, loader in enumerate(loaders):
            suffix = f".{index}" if len(loaders) > 1 else ""
            if isinstance(loader, Mapping):
                yield from _dataset(loader.get("dataset"), f"{key}{suffix}.dataset")
    if isinstance(cfg.get("load_from"), str):
        yield NeededPath("load_from", cfg["load_from"], "checkpoint")
    yield from _pretrained(cfg.get("model"), "model")
    for key, teacher in _teachers(cfg):
        if isinstance(teacher.get("checkpoint"), str):
            yield NeededPath(f"{key}.checkpoint", teacher["checkpoint"], "checkpoint")


def _dataset(dataset: Any, key: str) -> Iterator[NeededPath]:
    """Yield the paths of a data set's config, also inside wrappers such as ``RepeatDataset``."""
    if not isinstance(dataset, Mapping):
        return
    yield from _dataset(dataset.get("dataset"), f"{key}.dataset")
    for index, part in enumerate(dataset.get("datasets") or ()):
        yield from _dataset(part, f"{key}.datasets.{index}")

    name = type_name(dataset.get("type"))
    if name in _DOWNLOADABLE and dataset.get("download") is not False:
        return
    if any(_is_read_elsewhere(part) for part in [dataset, *(dataset.get("pipeline") or ())]):
        return
    roots = [
        NeededPath(f"{key}.data_root", path, "data") for path in _paths(dataset.get("data_root"))
    ]
    prefixes = list(_prefixes(dataset.get("data_prefix"), _CIFAR_FOLDERS.get(name), key))
    files = [(f"{key}.ann_file", path) for path in _paths(dataset.get("ann_file"))]
    # the root is not used if the paths of the images are absolute
    if any(not _is_absolute(path) for _, path in prefixes + files) or not prefixes:
        yield from roots
    # below a missing root all paths are missing; with several roots, only the class joins paths
    is_joined = not roots or (len(roots) == 1 and roots[0].exists)
    root = roots[0].path if roots else ""
    for place, path in prefixes + files:
        if is_joined or _is_absolute(path):
            yield NeededPath(
                place, os.path.join(root, path) if not _is_remote(path) else path, "data"
            )


def _prefixes(prefix: Any, folder: str | None, key: str) -> Iterator[tuple[str, str]]:
    """Yield the key and path of each ``data_prefix``, or of ``folder`` below it."""
    if folder is not None:
        prefix = os.path.join(prefix if isinstance(prefix, str) else "", folder)
    entries = prefix.items() if isinstance(prefix, Mapping) else [("", prefix)]
    for part, value in entries:
        for path in _paths(value):
            yield f"{key}.data_prefix.{part}".removesuffix("."), path


def _pretrained(node: Any, key: str) -> Iterator[NeededPath]:
    """Yield the checkpoints of every ``init_cfg=dict(type='Pretrained', ...)`` in a model."""
    if isinstance(node, Mapping):
        is_pretrained = type_name(node.get("type")) in ("Pretrained", "PretrainedInit")
        if is_pretrained and isinstance(node.get("checkpoint"), str):
            yield NeededPath(f"{key}.checkpoint", node["checkpoint"], "checkpoint")
        for name, child in node.items():
            yield from _pretrained(child, f"{key}.{name}")
    elif isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from _pretrained(child, f"{key}.{index}")


def _teachers(cfg: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the key and the options of the teacher of every ``ICKDHook`` entry."""
    for index, hook in enumerate(cfg.get("custom_hooks") or ()):
        if is_ickd_hook(hook):
            teacher = hook.get("teacher")
            if isinstance(teacher, Mapping):
                yield f"custom_hooks.{index}.teacher", teacher


def _teacher_configs(cfg: Mapping[str, Any]) -> Iterator[NeededPath]:
    """Yield the teacher configs that are files and cannot be found."""
    for key, teacher in _teachers(cfg):
        reference = teacher.get("cfg")
        if isinstance(reference, (str, Path)):
            try:
                find_config(reference, f"{key}.cfg")
            except ICKDError:
                yield NeededPath(f"{key}.cfg", str(reference), "config")


def _is_read_elsewhere(part: Any) -> bool:
    """True if a data set or a transform does not read its files from the local disk."""
    if not isinstance(part, Mapping):
        return False
    backends = (part.get(key) for key in ("backend_args", "file_client_args"))
    names = [args.get("backend", "local") for args in backends if isinstance(args, Mapping)]
    return any(name not in _LOCAL_BACKENDS for name in names)


def _paths(value: Any) -> list[str]:
    """Return the paths of a list, or of a single path."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return [path for path in values if isinstance(path, str) and path]


def _is_absolute(path: str) -> bool:
    return os.path.isabs(path) or _is_remote(path)


def _is_remote(path: str) -> bool:
    return "://" in path or path.startswith(("s3:", "petrel:"))
