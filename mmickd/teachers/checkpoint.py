"""Reading a teacher's checkpoint, safely and strictly."""

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

from mmickd.teachers.archive import check_archive
from mmickd.teachers.download import check_url, fetch, is_url
from mmickd.teachers.formats import fault_of_file, is_safetensors
from mmickd.teachers.loading import load_strictly
from mmickd.utils.errors import ICKDError
from mmickd.utils.paths import expand_path
from mmickd.utils.text import shorten
from mmickd.utils.validation import check_flag, check_path_or_url


class TeacherWeights:
    """The trained weights of a teacher, as its config names them.

    Args:
        checkpoint: path or URL; None where the config gives none.
        trust: load it even if it holds more than tensors and plain values.
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
        """Of the file, without folders; of a URL without what may be secret in it."""
        path = urlsplit(self.checkpoint).path if is_url(self.checkpoint) else self.checkpoint
        return os.path.basename(path)

    def check(self) -> None:
        """Look whether something lies there; a server is not asked.

        Raises:
            ICKDError: if nothing does.
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
        """Download it if it is a URL; all ranks call this together.

        Raises:
            ICKDError: on every rank, if one cannot get it.
        """
        if is_url(self.checkpoint):
            self._file = str(fetch(self.checkpoint))
            print_log(f"The teacher's weights are {self._file}", logger="current")

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
        source = f"teacher.checkpoint '{self.checkpoint}'"
        load_strictly(model, state_dict_of(checkpoint), source, owner)
        return classes_of(checkpoint)


def load_checkpoint(
    path: str,
    trust: bool = False,
    option: str = "teacher.checkpoint",
    trust_by: str = "teacher.trust_checkpoint=True",
) -> dict[str, Any]:
    """A checkpoint on the CPU, without running code that it may carry.

    Args:
        path: a local file of torch.save or safetensors.
        trust: go on with ``weights_only=False`` where the file holds other than tensors.
        option: that names the file, for messages.
        trust_by: what sets ``trust``, for messages.

    Raises:
        ICKDError: if it cannot be read.
    """
    fault = fault_of_file(path)
    if fault:
        raise ICKDError(f"{option} '{path}' {fault}")
    if not trust:
        check_archive(path, option)
    try:
        checkpoint = _read(path, trust)
    except Exception as error:  # whatever a damaged file leads to, up to a missing key
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused and isinstance(error, UnpicklingError):
            raise ICKDError(
                f"{option} '{path}' holds more than tensors and plain values "
                f"({refused[1]}). If you trust where it comes from, set {trust_by}."
            ) from error
        # torch's own advice, which precedes its reason, is to read with less care
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
    """The weights in a checkpoint, without the prefix of a DDP wrapper.

    Returns:
        A dict of its own, with ``_metadata`` (versions of modules) if the weights have it.

    Raises:
        ICKDError: if there are none.
    """
    state = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ICKDError(f"the checkpoint has a {type(state).__name__} for its state_dict.")
    own, metadata = OrderedDict(state), getattr(state, "_metadata", None)
    if isinstance(metadata, dict):
        own._metadata = OrderedDict(metadata)  # type: ignore[attr-defined]
    consume_prefix_in_state_dict_if_present(own, "module.")
    return own


def classes_of(checkpoint: dict[str, Any]) -> tuple[str, ...] | None:
    """Names of the classes that the teacher was trained on, in order; None if not recorded."""
    meta = _dict(checkpoint.get("meta"))
    classes = _dict(meta.get("dataset_meta")).get("classes") or meta.get("CLASSES")
    if not isinstance(classes, (list, tuple)):
        return None
    return tuple(str(name) for name in classes)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


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
        raise UnpicklingError(f"GLOBAL getattr({owner!r}, {name!r}) in a checkpoint")


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
