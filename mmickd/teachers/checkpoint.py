"""Reading a teacher's checkpoint, safely and strictly."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine import dist
from mmengine.logging import print_log
from torch import Tensor, nn

from mmickd.utils.errors import ICKDError

MAX_NAMES = 5
"""Keys shown in an error message."""


def is_url(path: str) -> bool:
    """Whether ``path`` is to be downloaded."""
    return urlparse(path).scheme in ("http", "https")


def check_checkpoint_path(path: str) -> None:
    """Look whether something lies at ``path``.

    Raises:
        ICKDError: if nothing does.
    """
    if not path:
        raise ICKDError(
            "teacher.checkpoint is not set: give the path or URL of the trained teacher's weights."
        )
    if not is_url(path) and not os.path.isfile(path):
        raise ICKDError(
            f"teacher.checkpoint '{path}' does not exist. Train the teacher first "
            "(tools/train.py with the teacher's config) or give the right path or URL."
        )


def load_checkpoint(path: str, trust: bool = False) -> dict[str, Any]:
    """A checkpoint on the CPU, without running code that it may carry.

    Args:
        path: a local file.
        trust: go on with ``weights_only=False`` where the file holds other than tensors.

    Raises:
        ICKDError: if it cannot be read.
    """
    try:
        with torch.serialization.safe_globals(_harmless_globals()):
            checkpoint = torch.load(path, map_location="cpu", weights_only=not trust)
    except UnpicklingError as error:
        raise ICKDError(
            f"teacher.checkpoint '{path}' holds more than tensors and plain values, or is no "
            f"checkpoint ({_first_line(error)}). If you trust where it comes from, "
            "set teacher.trust_checkpoint=True."
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise ICKDError(
            f"teacher.checkpoint '{path}' cannot be read, it may be truncated: {_first_line(error)}"
        ) from error
    if not isinstance(checkpoint, dict):
        raise ICKDError(f"teacher.checkpoint '{path}' holds no dict of weights.")
    return checkpoint


def state_dict_of(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The weights in a checkpoint, without the prefix of a DDP wrapper.

    Raises:
        ICKDError: if there are none.
    """
    state = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state, dict):
        raise ICKDError(f"teacher.checkpoint has a {type(state).__name__} for its state_dict.")
    return {re.sub(r"^module\.", "", name): value for name, value in state.items()}


def classes_of(checkpoint: dict[str, Any]) -> tuple[str, ...] | None:
    """Names of the classes that the teacher was trained on, in order; None if not recorded."""
    meta = checkpoint.get("meta") or {}
    classes = (meta.get("dataset_meta") or {}).get("classes") or meta.get("CLASSES")
    return None if classes is None else tuple(str(name) for name in classes)


def load_strictly(model: nn.Module, state: dict[str, Tensor], path: str) -> None:
    """Load weights, every one of them.

    Raises:
        ICKDError: if the checkpoint is of another architecture.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if missing or unexpected or shapes:
        faults = [
            f"{len(names)} {what}: {_some(names)}"
            for what, names in (
                ("missing", missing),
                ("unexpected", unexpected),
                ("of another shape", shapes),
            )
            if names
        ]
        raise ICKDError(
            f"teacher.checkpoint '{path}' does not fit teacher.cfg ({'; '.join(faults)}). "
            "Give the config that this checkpoint was trained with, or the other checkpoint."
        )
    model.load_state_dict(state, strict=True)


def _first_line(error: Exception) -> str:
    """What an error says, in one line; its name if it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0][:160]


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f", ... ({len(names) - MAX_NAMES} more)" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def fetch(path: str) -> str:
    """The local file that ``path`` means; all ranks call this together.

    Args:
        path: a file, or a URL, which one process of each machine downloads into torch.hub's
            checkpoint folder.

    Raises:
        ICKDError: on every rank, if one cannot download it.
    """
    if not is_url(path):
        return path
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / os.path.basename(urlparse(path).path)
    failure = ""
    if dist.get_local_rank() == 0 and not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        print_log(f"Downloading the teacher from {path} to {file}", logger="current")
        try:
            torch.hub.download_url_to_file(path, str(file), progress=True)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
    # Every rank learns of a failure, none waits for a file that will not come.
    failures = [text for text in dist.all_gather_object(failure) if text]
    if failures:
        raise ICKDError(
            f"teacher.checkpoint {path} cannot be downloaded ({failures[0]}). Download it by hand "
            f"to {file}, or set teacher.checkpoint to a local file."
        )
    return str(file)


def _harmless_globals() -> list[Any]:
    """What mmengine's own checkpoints hold beside tensors."""
    import numpy as np
    from mmengine.logging.history_buffer import HistoryBuffer

    dtypes = {type(np.dtype(t)) for t in (np.int64, np.int32, np.float64, np.float32, np.bool_)}
    scalar = np.float64(0.0).__reduce__()[0]
    array = np.zeros(0).__reduce__()[0]

    def history_method(owner: type, name: str) -> Any:
        if owner is not HistoryBuffer or name not in ("min", "max", "mean", "current"):
            raise UnpicklingError(f"getattr({owner!r}, {name!r}) in a checkpoint")
        return getattr(owner, name)

    # A HistoryBuffer pickles its methods by getattr; anybody else's getattr is refused.
    statistics = (history_method, "builtins.getattr")
    return [np.ndarray, np.dtype, scalar, array, *dtypes, HistoryBuffer, slice, statistics]
