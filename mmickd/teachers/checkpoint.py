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

from mmickd.teachers.archive import check_archive
from mmickd.utils.distributed import patient_group
from mmickd.utils.errors import ICKDError

MAX_NAMES = 5
"""Keys shown in an error message."""


class TeacherWeights:
    """The trained weights of a teacher, as its config names them.

    Args:
        checkpoint: path or URL; None where the config gives none.
        trust: load it even if it holds more than tensors and plain values.
    """

    def __init__(self, checkpoint: str | os.PathLike[str] | None, trust: bool) -> None:
        self.checkpoint = "" if checkpoint is None else os.path.expanduser(os.fspath(checkpoint))
        self._trust = trust
        self._file = self.checkpoint

    def check(self) -> None:
        """Look whether something lies there.

        Raises:
            ICKDError: if nothing does.
        """
        if not self.checkpoint:
            raise ICKDError(
                "teacher.checkpoint is not set: give the path or URL of the trained teacher's "
                "weights."
            )
        if not is_url(self.checkpoint) and not os.path.isfile(self.checkpoint):
            raise ICKDError(
                f"teacher.checkpoint '{self.checkpoint}' does not exist. Train the teacher first "
                "(tools/train.py with the teacher's config) or give the right path or URL."
            )

    def fetch(self) -> None:
        """Download it if it is a URL, see :func:`fetch`."""
        self._file = fetch(self.checkpoint)

    def load_into(self, model: nn.Module, owner: str) -> tuple[str, ...] | None:
        """Fill a network, strictly.

        Args:
            model: to be filled.
            owner: whose architecture it has, for messages.

        Returns:
            Names of the classes that it was trained on, in order; None if not recorded.

        Raises:
            ICKDError: if the file is missing, cannot be read, or is of another architecture.
        """
        self.check()
        checkpoint = load_checkpoint(self._file, self._trust)
        load_strictly(model, state_dict_of(checkpoint), self.checkpoint, owner)
        return classes_of(checkpoint)


def is_url(path: str) -> bool:
    """Whether ``path`` is to be downloaded.

    Example:
        >>> is_url("https://host/r101.pth"), is_url("work_dirs/r101.pth")
        (True, False)
    """
    return urlparse(path).scheme in ("http", "https")


def load_checkpoint(path: str, trust: bool = False) -> dict[str, Any]:
    """A checkpoint on the CPU, without running code that it may carry.

    Args:
        path: a local file.
        trust: go on with ``weights_only=False`` where the file holds other than tensors.

    Raises:
        ICKDError: if it cannot be read.
    """
    if not trust:
        check_archive(path)
    try:
        with torch.serialization.safe_globals(_harmless_globals()):
            checkpoint = torch.load(path, map_location="cpu", weights_only=not trust)
    except UnpicklingError as error:
        raise ICKDError(
            f"teacher.checkpoint '{path}' holds more than tensors and plain values, or is no "
            f"checkpoint ({_first_line(error)}). If you trust where it comes from, "
            "set teacher.trust_checkpoint=True."
        ) from error
    except Exception as error:  # whatever a damaged file leads to, up to a missing key
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
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ICKDError(f"teacher.checkpoint has a {type(state).__name__} for its state_dict.")
    return {re.sub(r"^module\.", "", name): value for name, value in state.items()}


def classes_of(checkpoint: dict[str, Any]) -> tuple[str, ...] | None:
    """Names of the classes that the teacher was trained on, in order; None if not recorded."""
    meta = _dict(checkpoint.get("meta"))
    classes = _dict(meta.get("dataset_meta")).get("classes") or meta.get("CLASSES")
    if not isinstance(classes, (list, tuple)):
        return None
    return tuple(str(name) for name in classes)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def load_strictly(model: nn.Module, state: dict[str, Tensor], path: str, owner: str) -> None:
    """Load weights, every one of them.

    Args:
        model: to be filled.
        state: the weights.
        path: where they come from, for messages.
        owner: whose architecture ``model`` has, for messages.

    Raises:
        ICKDError: if the checkpoint is of another architecture.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} {_shape_of(state[name])} for {_shape_of(own[name])}"
        for name in own
        if name in state and _shape_of(state[name]) != _shape_of(own[name])
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
            f"teacher.checkpoint '{path}' does not fit {owner} ({'; '.join(faults)}). "
            "Give the config that this checkpoint was trained with, or the other checkpoint."
        )
    try:
        model.load_state_dict(state, strict=True)
    except (RuntimeError, NotImplementedError) as error:  # tensors without values, or sparse
        raise ICKDError(
            f"teacher.checkpoint '{path}' cannot be loaded ({_first_line(error)}). Give a "
            "checkpoint with ordinary tensors."
        ) from error


def _shape_of(value: Any) -> Any:
    """Shape of a tensor, else the name of what it is."""
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _first_line(error: Exception) -> str:
    """Message of an error in one line; its name if it has none."""
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
    failures = [text for text in dist.all_gather_object(failure, group=patient_group()) if text]
    if failures:
        raise ICKDError(
            f"teacher.checkpoint {path} cannot be downloaded ({failures[0]}). Download it by hand "
            f"to {file}, or set teacher.checkpoint to a local file."
        )
    return str(file)


class _Ignored:
    """Stands for an object that nobody asks for, so that its own class need not be trusted.

    Even numpy's arrays are not made: the state of a forged dtype can turn bytes into addresses.
    """

    def __init__(self, *_: Any) -> None:
        """Whatever it was made of."""

    def __setstate__(self, _: Any) -> None:
        """Whatever it held."""


class _History(_Ignored):
    """Stands for mmengine's HistoryBuffer."""


def _history_method(owner: Any, name: Any) -> None:
    """A HistoryBuffer pickles its methods by getattr; anybody else's getattr is refused."""
    if owner is not _History or name not in ("min", "max", "mean", "current"):
        raise UnpicklingError(f"getattr({owner!r}, {name!r}) in a checkpoint")


def _harmless_globals() -> list[Any]:
    """Objects that mmengine's own checkpoints hold beside tensors: allowed, and left out."""
    names = ["numpy.ndarray", "numpy.dtype", "builtins.slice"]
    for module in ("numpy.core", "numpy._core"):  # of numpy 1 and 2
        names += [f"{module}.multiarray._reconstruct", f"{module}.multiarray.scalar"]
    return [
        *((_Ignored, name) for name in names),
        (_History, "mmengine.logging.history_buffer.HistoryBuffer"),
        (_history_method, "builtins.getattr"),
    ]
