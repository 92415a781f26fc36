"""Safe and strict loading of a teacher's checkpoint."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlsplit

import safetensors.torch
import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from mmickd.teachers.checkpoint_file import fault_of_file, is_safetensors
from mmickd.teachers.download import check_url, fetch, is_url
from mmickd.teachers.loading import load_strictly
from mmickd.utils.errors import ICKDError
from mmickd.utils.paths import expand_path
from mmickd.utils.text import shorten
from mmickd.utils.validation import check_flag, check_path_or_url


class TeacherWeights:
    """Weights of a teacher, given by path or URL.

    Args:
        checkpoint: Path or URL; None if the config sets none.
        trust: True loads a checkpoint even if it holds more than tensors and plain values.
    """

    def __init__(self, checkpoint: str | os.PathLike[str] | None, trust: bool) -> None:
        if checkpoint is not None:
            check_path_or_url(checkpoint, "checkpoint")
        check_flag(trust, "trust_checkpoint")
        self.checkpoint = "" if checkpoint is None else expand_path(checkpoint)
        self._trust = trust
        self._file = self.checkpoint

    @property
    def name(self) -> str:
        """File name without folders and without the query of a URL, which may hold a secret."""
        path = urlsplit(self.checkpoint).path if is_url(self.checkpoint) else self.checkpoint
        return os.path.basename(path)

    def check(self) -> None:
        """Check that the file exists, or that the URL is valid, without a connection.

        Raises:
            ICKDError: If the file or URL is not valid, or no checkpoint is set.
        """
        if not self.checkpoint:
            raise ICKDError(
                "teacher.checkpoint is not set: give the path or URL of the trained teacher's "
                "weights."
            )
        if is_url(self.checkpoint):
            check_url(self.checkpoint)
        elif not os.path.isfile(self.checkpoint):
            raise ICKDError(
                f"teacher.checkpoint '{self.checkpoint}' does not exist. Train the teacher first "
                "(tools/train.py with the teacher's config) or give the right path or URL (http or "
                "https)."
            )

    def fetch(self) -> None:
        """Download the file of a URL; all ranks call this together.

        Raises:
            ICKDError: On every rank, if a rank cannot download the file.
        """
        if is_url(self.checkpoint):
            self._file = str(fetch(self.checkpoint))
            print_log(f"The teacher's weights are {self._file}", logger="current")

    def load_into(self, model: nn.Module, owner: str) -> tuple[str, ...] | None:
        """Load the weights into a model, strictly.

        Args:
            model: Model to fill.
            owner: Name of the model, for messages.

        Returns:
            Class names of the training set, in order; None if not recorded.

        Raises:
            ICKDError: If the file does not exist, cannot be read, or belongs to another
                architecture.
        """
        self.check()
        checkpoint = load_checkpoint(self._file, self._trust)
        source = f"teacher.checkpoint '{self.checkpoint}'"
        load_strictly(model, state_dict_of(checkpoint), source, owner)
        return classes_of(checkpoint)


def load_checkpoint(
    path: str,
    trust: bool = False,
    option: str = "teacher.checkpoint",
    trust_by: str = "teacher.trust_checkpoint=True",
) -> dict[str, Any]:
    """Return a checkpoint on the CPU, without running code that it may hold.

    Args:
        path: Local file of torch.save or safetensors.
        trust: True uses ``weights_only=False``: the file may run code.
        option: Option that names the file, for messages.
        trust_by: Setting that turns ``trust`` on, for messages.

    Raises:
        ICKDError: If the file cannot be read.
    """
    fault = fault_of_file(path, check_sizes=not trust)
    if fault:
        raise ICKDError(f"{option} '{path}' {fault}")
    try:
        checkpoint = _read(path, trust)
    except Exception as error:  # any error that a damaged file leads to, even a KeyError
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused and isinstance(error, UnpicklingError):
            raise ICKDError(
                f"{option} '{path}' holds more than tensors and plain values "
                f"({refused[1]}). If you trust its source, set {trust_by}."
            ) from error
        # Torch puts the advice to use weights_only=False in front of the reason.
        reason = str(error).rpartition("WeightsUnpickler error: ")[2].strip().partition("\n")[0]
        raise ICKDError(
            f"{option} '{path}' cannot be read, it may be truncated: "
            f"{shorten(reason) or type(error).__name__}"
        ) from error
    if not isinstance(checkpoint, dict):
        raise ICKDError(f"{option} '{path}' holds no dict of weights.")
    return checkpoint


def _read(path: str, trust: bool) -> Any:
    if is_safetensors(path):
        return safetensors.torch.load_file(path)
    with torch.serialization.safe_globals(_harmless_globals()):
        return torch.load(path, map_location="cpu", weights_only=not trust)


def state_dict_of(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Return the weights in a checkpoint, without the prefix of a DDP wrapper.

    Returns:
        New dict, with ``_metadata`` (versions of modules) if the weights have it.

    Raises:
        ICKDError: If the checkpoint holds no weights.
    """
    state = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ICKDError(f"the checkpoint has a {type(state).__name__} for its state_dict.")
    weights, metadata = OrderedDict(state), getattr(state, "_metadata", None)
    if isinstance(metadata, dict):
        weights._metadata = OrderedDict(metadata)  # type: ignore[attr-defined]
    consume_prefix_in_state_dict_if_present(weights, "module.")
    return weights


def classes_of(checkpoint: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the class names of a checkpoint's training set, in order; None if not recorded."""
    meta = _dict_or_empty(checkpoint.get("meta"))
    classes = _dict_or_empty(meta.get("dataset_meta")).get("classes") or meta.get("CLASSES")
    if not isinstance(classes, (list, tuple)):
        return None
    return tuple(str(name) for name in classes)


def _dict_or_empty(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


class _Ignored:
    """Placeholder of an object that is not needed, so that its class need not be trusted.

    This includes numpy's arrays: the state of a forged dtype can turn bytes into addresses.
    """

    def __init__(self, *_: Any) -> None:
        """Ignore the arguments."""

    def __setstate__(self, _: Any) -> None:
        """Ignore the state."""


class _History(_Ignored):
    """Placeholder of mmengine's HistoryBuffer."""


def _history_method(owner: Any, name: Any) -> None:
    """Stand in for ``getattr``, by which a HistoryBuffer pickles its methods; reject other uses."""
    if owner is not _History or name not in ("min", "max", "mean", "current"):
        raise UnpicklingError(f"GLOBAL getattr({owner!r}, {name!r}) in a checkpoint")


def _harmless_globals() -> list[Any]:
    """Return placeholders of the objects that mmengine's checkpoints hold beside tensors."""
    names = ["numpy.ndarray", "numpy.dtype", "builtins.slice"]
    for module in ("numpy.core", "numpy._core"):  # of numpy 1 and 2
        names += [f"{module}.multiarray._reconstruct", f"{module}.multiarray.scalar"]
    return [
        *((_Ignored, name) for name in names),
        (_History, "mmengine.logging.history_buffer.HistoryBuffer"),
        (_history_method, "builtins.getattr"),
    ]
