"""The teacher of the teacher-free paradigm: an earlier state of the student."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.registry import TEACHERS
from mmickd.structures import Batch, Tapped
from mmickd.teachers.base import Source
from mmickd.teachers.checkpoint import TeacherWeights
from mmickd.teachers.loading import load_strictly
from mmickd.teachers.network import NetworkTeacher
from mmickd.teachers.run_context import RunContext
from mmickd.utils.distributed import broadcast_buffers
from mmickd.utils.errors import ICKDError
from mmickd.utils.modules import copy_model, is_sharded
from mmickd.utils.text import safe_repr
from mmickd.utils.validation import check_choice, check_integer, check_number

MODES = ("ema", "snapshot", "checkpoint")


@TEACHERS.register_module()
class SelfTeacher(NetworkTeacher):
    """Teacher that is an earlier state of the student: moving average, last epoch or checkpoint.

    Source: the teacher-free paradigm of arXiv 2501.07040. The moving average is our choice (as in
    'Mean teachers are better role models', Tarvainen and Valpola 2017, section 2); its warm-up is
    taken from mmengine's ``MomentumAnnealingEMA`` (whose ``gamma`` is ``warmup``). The last epoch
    is the teacher of PS-KD (arXiv 2006.12000), a checkpoint is the teacher of Tf-KD's self-training
    (arXiv 1909.11723).

    Args:
        mode: 'ema': average of the student's parameters and buffers, updated after each step.
            'snapshot': the student at the end of the last epoch, used from the second epoch on.
            'checkpoint': an earlier checkpoint of the same model, frozen like an offline teacher.
        momentum: Share ``m`` of the student in a step of the average, in (0, 1]:
            ``average = (1 - m) * average + m * student``.
        warmup: Speed of the warm-up: the share is ``max(m, warmup / (warmup + steps))``, so that
            the initial weights soon fade: the average covers about the last ``1 / warmup`` of the
            steps so far. 0: no warm-up.
        interval: Epochs between two snapshots.
        checkpoint: Path or URL (mode 'checkpoint').
        layer: Name of the classifier layer; 'auto' searches for it.
        dtype: See :class:`~mmickd.teachers.NetworkTeacher`.
        trust_checkpoint: True allows a checkpoint that holds more than tensors and plain values;
            it can run code.
        resume: Behaviour of a run that resumes from a checkpoint without this teacher: 'strict'
            raises an error, 'fresh' starts from the resumed student.

    Raises:
        ICKDError: If an option is out of range, or does not belong to the mode.

    Example:
        >>> SelfTeacher(momentum=0.01).is_frozen
        False
    """

    def __init__(
        self,
        mode: str = "ema",
        momentum: float = 0.001,
        warmup: int = 10,
        interval: int = 1,
        checkpoint: str | None = None,
        layer: str = "auto",
        dtype: str = "fp32",
        trust_checkpoint: bool = False,
        resume: str = "strict",
    ) -> None:
        super().__init__(layer, dtype)
        check_choice(mode, MODES, "mode")
        check_choice(resume, ("strict", "fresh"), "resume")
        check_integer(warmup, 0, "warmup")
        check_integer(interval, 1, "interval")
        check_number(momentum, "momentum", above=0, most=1)
        if (checkpoint is None) is (mode == "checkpoint"):
            raise ICKDError(
                "teacher.checkpoint belongs to teacher.mode='checkpoint': set both, or neither."
            )
        self.mode, self.momentum, self.warmup, self.resume = mode, momentum, warmup, resume
        self.interval = interval
        self.weights = TeacherWeights(checkpoint, trust_checkpoint)
        self._reset()

    def _reset(self) -> None:
        self._steps = self._epochs = 0
        self._has_snapshot = False

    @property
    def is_frozen(self) -> bool:  # type: ignore[override]
        """True for an earlier checkpoint; the other modes follow the student."""
        return self.mode == "checkpoint"

    @property
    def lags_student(self) -> bool:  # type: ignore[override]
        """True for a moving average."""
        return self.mode == "ema"

    def check_files(self) -> None:
        """See :meth:`Teacher.check_files`."""
        if self.is_frozen:
            self.weights.check()

    def fetch(self) -> None:
        """See :meth:`Teacher.fetch`."""
        if self.is_frozen:
            self.weights.fetch()

    def make_network(self, run: RunContext) -> nn.Module:
        """Return a copy of the student; see :meth:`NetworkTeacher.make_network`.

        Raises:
            ICKDError: If the student is sharded, or the checkpoint belongs to another model.
        """
        if is_sharded(run.student):
            raise ICKDError(
                "SelfTeacher copies the student, of which each rank has only a part under FSDP: "
                "use DDP."
            )
        model = copy_model(run.student)
        if self.is_frozen:
            self.classes = self.weights.load_into(model, "the student")
        self._reset()
        return model

    def file_names(self) -> dict[str, str]:
        """See :meth:`NetworkTeacher.file_names`."""
        return {"teacher_checkpoint": self.weights.name}

    def forward(self, batch: Batch, student: Tapped) -> Sequence[Source]:
        """See :meth:`Teacher.forward`; before the first snapshot there is no source."""
        if self.mode == "snapshot" and not self._has_snapshot:
            return []
        return super().forward(batch, student)

    def after_step(self, student: nn.Module, ends_epoch: bool) -> dict[str, Tensor]:
        """Update the average, or take a snapshot; a frozen teacher does not change."""
        if self.mode == "ema":
            self.average(student)
        elif self.mode == "snapshot" and ends_epoch:
            self._epochs += 1
            if self._epochs % self.interval == 0:
                # Not strict: Swin V2 does not load all buffers that its state dict has.
                self.model.load_state_dict(student.state_dict(), strict=False)
                broadcast_buffers(self.model)
                self._has_snapshot = True
        return {}

    @torch.no_grad()
    def average(self, student: nn.Module) -> None:
        """Move the average towards the student."""
        share = self.momentum
        if self.warmup:
            share = max(share, self.warmup / (self.warmup + self._steps))
        self._steps += 1
        averages, values = self.model.state_dict(), student.state_dict()
        floats = [name for name, value in averages.items() if value.is_floating_point()]
        torch._foreach_lerp_([averages[n] for n in floats], [values[n] for n in floats], share)
        for name in averages.keys() - set(floats):  # counters
            averages[name].copy_(values[name])
        # Running statistics differ by rank, and a checkpoint holds only the values of rank 0.
        broadcast_buffers(self.model)

    def own_state(self) -> dict[str, Any]:
        """See :meth:`NetworkTeacher.own_state`."""
        return {
            "mode": self.mode,
            "steps": self._steps,
            "epochs": self._epochs,
            "taken": self._has_snapshot,
            "model": self.model.state_dict(),
        }

    def load_own_state(self, state: dict[str, Any]) -> None:
        """See :meth:`NetworkTeacher.load_own_state`.

        Raises:
            ICKDError: If the state belongs to another model or mode.
        """
        mode = state.get("mode")
        if mode != self.mode:
            raise ICKDError(
                f"the resumed checkpoint holds a SelfTeacher of mode {safe_repr(mode)}, the config "
                f"has '{self.mode}'. Resume with the config that it was trained with."
            )
        steps, epochs, has_snapshot = (state.get(name) for name in ("steps", "epochs", "taken"))
        counts = [number for number in (steps, epochs) if type(number) is int and number >= 0]
        if len(counts) < 2 or not isinstance(has_snapshot, bool):
            raise ICKDError(
                f"the resumed checkpoint holds a SelfTeacher with steps={safe_repr(steps)}, "
                f"epochs={safe_repr(epochs)}, taken={safe_repr(has_snapshot)}, which is "
                "impossible. Resume from an earlier checkpoint."
            )
        weights: dict[str, Tensor] = state.get("model", {})
        load_strictly(self.model, weights, "the teacher in the resumed checkpoint", "the student")
        (self._steps, self._epochs), self._has_snapshot = counts, has_snapshot
