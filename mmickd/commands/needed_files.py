"""Looks for the files that a config needs, before anything is built."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmickd.hooks.entries import is_own
from mmickd.utils.config import find_config, type_name
from mmickd.utils.errors import ICKDError

_CIFAR_FOLDERS = {"CIFAR10": "cifar-10-batches-py", "CIFAR100": "cifar-100-python"}
# Data sets that fetch themselves unless `download=False`.
_SELF_FETCHING = {*_CIFAR_FOLDERS, "MNIST", "FashionMNIST"}


# Names of the local disk, to mmengine's file backends and to its older file clients.
_LOCAL_BACKENDS = {"local", "disk"}


@dataclass(frozen=True)
class Need:
    """A path that a config names.

    Args:
        key: where it stands, as ``--cfg-options`` would spell it.
        path: the path as it will be opened.
        kind: ``'data'`` or ``'checkpoint'``, which hint of the config belongs to it.
    """

    key: str
    path: str
    kind: str

    @property
    def exists(self) -> bool:
        """Whether it is there, and no empty folder; what is on no local disk counts as there."""
        if _is_remote(self.path):
            return True
        path = self.path
        return os.path.exists(path) and not (os.path.isdir(path) and not os.listdir(path))


def check_files(cfg: Mapping[str, Any], splits: Sequence[str] = ("train", "val")) -> None:
    """Stop if a data set or a checkpoint that ``cfg`` names is missing.

    Args:
        cfg: the whole config, as :func:`~mmickd.commands.arguments.read_config` returns it. Its
            optional strings ``data_hint`` and ``checkpoint_hint`` say how to get what is missing.
        splits: whose data sets are looked for; those switched off in the config are not.

    Raises:
        ICKDError: one message with every missing path, its key and the hint. URLs and other
            backends than the local disk are not checked.
    """
    missing: dict[str, list[Need]] = {}
    for need in needed_files(cfg, splits):
        if not need.exists:
            missing.setdefault(need.path, []).append(need)
    for need in _teacher_configs(cfg):
        missing.setdefault(need.path, []).append(need)
    if not missing:
        return
    lines = ["This config needs what does not exist, or is an empty folder:"]
    for path, needs in missing.items():
        keys = ", ".join(dict.fromkeys(need.key for need in needs))
        lines.append(f"  {path}  (from {keys})")
    if any(not os.path.isabs(path) for path in missing):
        lines.append(f"  where the working directory is {os.getcwd()}")
    if any("$" in path for path in missing):
        lines.append("  where $NAME is left as it is if no such environment variable is set")
    kinds = {need.kind for needs in missing.values() for need in needs}
    for kind in sorted(kinds & {"data", "checkpoint"}, reverse=True):
        hint = cfg.get(f"{kind}_hint")
        if hint:
            lines.append(f"To get the {kind}: {hint}")
    lines.append("If it lies elsewhere, link it there or set the key with --cfg-options KEY=PATH.")
    raise ICKDError(*lines)


def needed_files(cfg: Mapping[str, Any], splits: Sequence[str]) -> Iterator[Need]:
    """Every path of data sets, teachers and initial weights that ``cfg`` names.

    Args:
        cfg: the whole config.
        splits: of ``'train'``, ``'val'``, ``'test'``.
    """
    for split in splits:
        if cfg.get(f"{split}_cfg", True) is None:
            continue
        key = f"{split}_dataloader"
        loader = cfg.get(key)
        loaders = loader if isinstance(loader, (list, tuple)) else [loader]
        for index, one in enumerate(loaders):
            suffix = f".{index}" if len(loaders) > 1 else ""
            if isinstance(one, Mapping):
                yield from _dataset(one.get("dataset"), f"{key}{suffix}.dataset")
    if isinstance(cfg.get("load_from"), str):
        yield Need("load_from", cfg["load_from"], "checkpoint")
    yield from _pretrained(cfg.get("model"), "model")
    for key, teacher in _teachers(cfg):
        if isinstance(teacher.get("checkpoint"), str):
            yield Need(f"{key}.checkpoint", teacher["checkpoint"], "checkpoint")


def _dataset(dataset: Any, key: str) -> Iterator[Need]:
    """The paths of one dataset config, through wrappers such as ``RepeatDataset``."""
    if not isinstance(dataset, Mapping):
        return
    yield from _dataset(dataset.get("dataset"), f"{key}.dataset")
    for index, part in enumerate(dataset.get("datasets") or ()):
        yield from _dataset(part, f"{key}.datasets.{index}")

    name = type_name(dataset.get("type"))
    if name in _SELF_FETCHING and dataset.get("download") is not False:
        return
    if any(_other_backend(part) for part in [dataset, *(dataset.get("pipeline") or ())]):
        return
    roots = [Need(f"{key}.data_root", path, "data") for path in _paths(dataset.get("data_root"))]
    prefixes = list(_prefixes(dataset.get("data_prefix"), _CIFAR_FOLDERS.get(name), key))
    files = [(f"{key}.ann_file", path) for path in _paths(dataset.get("ann_file"))]
    # a root is not opened where the images lie at absolute paths
    is_root_used = any(not _is_absolute(path) for _, path in prefixes + files) or not prefixes
    if is_root_used:
        yield from roots
    # below a missing root all is missing; how several roots are joined only their class knows
    is_joined = not roots or (len(roots) == 1 and roots[0].exists)
    root = roots[0].path if roots else ""
    for place, path in prefixes + files:
        if is_joined or _is_absolute(path):
            yield Need(place, os.path.join(root, path) if not _is_remote(path) else path, "data")


def _prefixes(prefix: Any, folder: str | None, key: str) -> Iterator[tuple[str, str]]:
    """Key and path of every ``data_prefix``; ``folder`` lies below it."""
    if folder is not None:
        prefix = os.path.join(prefix if isinstance(prefix, str) else "", folder)
    entries = prefix.items() if isinstance(prefix, Mapping) else [("", prefix)]
    for part, value in entries:
        for path in _paths(value):
            yield f"{key}.data_prefix.{part}".removesuffix("."), path


def _pretrained(node: Any, key: str) -> Iterator[Need]:
    """Local checkpoints of ``init_cfg=dict(type='Pretrained', ...)`` anywhere in a model."""
    if isinstance(node, Mapping):
        named = type_name(node.get("type")) in ("Pretrained", "PretrainedInit")
        if named and isinstance(node.get("checkpoint"), str):
            yield Need(f"{key}.checkpoint", node["checkpoint"], "checkpoint")
        for name, child in node.items():
            yield from _pretrained(child, f"{key}.{name}")
    elif isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from _pretrained(child, f"{key}.{index}")


def _teachers(cfg: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The teacher of every ``ICKDHook`` entry, with its key."""
    for index, hook in enumerate(cfg.get("custom_hooks") or ()):
        if is_own(hook):
            teacher = hook.get("teacher")
            if isinstance(teacher, Mapping):
                yield f"custom_hooks.{index}.teacher", teacher


def _teacher_configs(cfg: Mapping[str, Any]) -> Iterator[Need]:
    """Teacher configs given as a file that cannot be found."""
    for key, teacher in _teachers(cfg):
        reference = teacher.get("cfg")
        if isinstance(reference, (str, Path)):
            try:
                find_config(reference, f"{key}.cfg")
            except ICKDError:
                yield Need(f"{key}.cfg", str(reference), "config")


def _other_backend(part: Any) -> bool:
    """Whether a data set, or a transform of it, reads files from elsewhere than the local disk."""
    if not isinstance(part, Mapping):
        return False
    given = (part.get(key) for key in ("backend_args", "file_client_args"))
    names = [args.get("backend", "local") for args in given if isinstance(args, Mapping)]
    return any(name not in _LOCAL_BACKENDS for name in names)


def _paths(value: Any) -> list[str]:
    """Return a path as a list of one; of a list, its paths."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return [path for path in values if isinstance(path, str) and path]


def _is_absolute(path: str) -> bool:
    return os.path.isabs(path) or _is_remote(path)


def _is_remote(path: str) -> bool:
    return "://" in path or path.startswith(("s3:", "petrel:"))
