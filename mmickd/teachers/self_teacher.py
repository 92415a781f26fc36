"""The teacher of the teacher-free paradigm: the student's own past."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.registry import TEACHERS
from mmickd.teachers.base import BaseTeacher
from mmickd.teachers.checkpoint import (
    check_checkpoint_path,
    classes_of,
    fetch,
    load_checkpoint,
    load_strictly,
    state_dict_of,
)
from mmickd.utils.errors import ICKDError
from mmickd.utils.modules import is_sharded, plain_copy
from mmickd.utils.options import check_choice, check_integer

MODES = ("ema", "checkpoint")


@TEACHERS.register_module()
class SelfTeacher(BaseTeacher):
    """The student's own past: its moving average, or an earlier checkpoint of it.

    Source: the teacher-free paradigm of arXiv 2501.07040; that the past is an average is our choice
    (as in 'Mean teachers are better role models', Tarvainen and Valpola 2017, section 2).

    Args:
        mode: 'ema' averages the student's parameters and buffers after each step; 'checkpoint'
            freezes an earlier checkpoint of the same model, which then is an offline teacher.
        momentum: share ``m`` of the student in a step of the average, in (0, 1]:
            ``average = (1 - m) * average + m * student``.
        warmup: the share is ``max(m, warmup / (warmup + steps))``, so that the average leaves the
            initial weights soon: it is of about the last ``1 / warmup`` of the steps so far. 0 for
            none.
        checkpoint: path or URL (mode 'checkpoint').
        layer: name of the last classifier layer; 'auto' finds it.
        dtype: see :class:`BaseTeacher`.
        trust_checkpoint: allow a checkpoint that holds more than tensors and plain values (it can
            run code).
        resume: what a resumed run does if its checkpoint holds no average: 'strict' stops, 'fresh'
            begins a new one with the resumed student.

    Raises:
        ICKDError: if an option is out of range, or does not belong to the mode.
    """

    def __init__(
        self,
        mode: str = "ema",
        momentum: float = 0.001,
        warmup: int = 10,
        checkpoint: str | None = None,
        layer: str = "auto",
        dtype: str = "fp32",
        trust_checkpoint: bool = False,
        resume: str = "strict",
    ) -> None:
        super().__init__(layer, dtype)
        check_choice(mode, MODES, "teacher.mode")
        check_choice(resume, ("strict", "fresh"), "teacher.resume")
        check_integer(warmup, 0, "teacher.warmup")
        if isinstance(momentum, bool) or not isinstance(momentum, (int, float)):
            raise ICKDError(f"teacher.momentum={momentum!r}: it must be a number in (0, 1].")
        if not 0 < momentum <= 1:
            raise ICKDError(f"teacher.momentum={momentum}: it must lie in (0, 1].")
        if (checkpoint is None) is (mode == "checkpoint"):
            raise ICKDError(
                "teacher.checkpoint belongs to teacher.mode='checkpoint': set both, or neither."
            )
        self.mode, self.momentum, self.warmup, self.resume = mode, momentum, warmup, resume
        self.checkpoint = "" if checkpoint is None else os.path.expanduser(os.fspath(checkpoint))
        self.trust_checkpoint = trust_checkpoint
        self._file = ""
        self._steps = 0

    @property
    def is_frozen(self) -> bool:
        """An average moves; an earlier checkpoint does not."""
        return self.mode == "checkpoint"

    def check_files(self) -> None:
        """See :meth:`BaseTeacher.check_files`."""
        if self.is_frozen:
            check_checkpoint_path(self.checkpoint)

    def fetch(self) -> None:
        """See :meth:`BaseTeacher.fetch`."""
        if self.is_frozen:
            self._file = fetch(self.checkpoint)

    def build(self, device: torch.device, student: nn.Module | None) -> None:
        """Copy the student; see :meth:`BaseTeacher.build`.

        Raises:
            ICKDError: if the student is sharded, or the checkpoint is of another model.
        """
        assert student is not None
        if is_sharded(student):
            raise ICKDError(
                "SelfTeacher copies the student, of which each rank has only a part under FSDP: "
                "use DDP."
            )
        model = plain_copy(student)
        if self.is_frozen:
            self.check_files()
            checkpoint = load_checkpoint(self._file or self.checkpoint, self.trust_checkpoint)
            load_strictly(model, state_dict_of(checkpoint), self.checkpoint, "the student")
            self.classes = classes_of(checkpoint)
        self._set_model(model, student, device)
        self._steps = 0

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Move the average towards the student, after its step; a frozen teacher stays."""
        if self.is_frozen:
            return
        share = self.momentum
        if self.warmup:
            share = max(share, self.warmup / (self.warmup + self._steps))
        self._steps += 1
        own, theirs = self.model.state_dict(), student.state_dict()
        averaged = [name for name, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([own[n] for n in averaged], [theirs[n] for n in averaged], share)
        for name in own.keys() - set(averaged):  # counters
            own[name].copy_(theirs[name])

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs; empty for a frozen teacher."""
        if self.is_frozen:
            return {}
        return {"steps": self._steps, "model": self.model.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved state.

        Raises:
            ICKDError: if it is of another model.
        """
        weights: dict[str, Tensor] = state.get("model", {})
        load_strictly(self.model, weights, "the average in the resumed checkpoint", "the student")
        self._steps = int(state["steps"])

    def fingerprint(self) -> dict[str, str]:
        """See :class:`BaseTeacher`; of a frozen teacher only."""
        return self._fingerprint_of(repr(self.model))
