"""Schedules of loss weights over a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mmickd.utils.errors import OptionError
from mmickd.utils.validation import check_choice, check_flag, check_number

DECAYS = (None, "linear", "cosine")


@dataclass(frozen=True)
class TrainProgress:
    """Position of the current step in the run.

    Args:
        iteration: Current iteration, from 0.
        max_iterations: Length of the run.
        epoch_length: Iterations of one pass over the training set.

    Example:
        >>> TrainProgress(iteration=5, max_iterations=12, epoch_length=4).measured(by_epoch=True)
        (1.25, 3.0)
    """

    iteration: int
    max_iterations: int
    epoch_length: int

    def __post_init__(self) -> None:
        assert self.epoch_length > 0

    def measured(self, by_epoch: bool) -> tuple[float, float]:
        """Return the current time and the length of the run, in epochs or iterations.

        Epochs are computed from iterations, so that they exist in iteration-based loops too.
        """
        unit = self.epoch_length if by_epoch else 1
        return self.iteration / unit, self.max_iterations / unit

    @property
    def ends_epoch(self) -> bool:
        """True if the iteration is the last one of an epoch."""
        return (self.iteration + 1) % self.epoch_length == 0


@dataclass(frozen=True)
class WeightSchedule:
    """Loss weight as a function of the time in the run alone, so that a run resumes exactly.

    From ``begin`` the weight rises linearly from 0 to ``value`` over ``warmup``, then stays or
    decays to ``end_value`` at ``end``, and is 0 after ``end``. Times are in iterations, or in
    epochs (also fractional). The shapes are our choice.

    Args:
        value: Full weight, at least 0.
        begin: Time from which the weight is above 0.
        end: Time from which the weight is 0 again; None: never (a decay then ends with the run).
        warmup: Duration of the rise.
        decay: None, 'linear' or 'cosine'.
        end_value: Weight at the end of the decay.
        by_epoch: True if times are epochs.
        stepwise: True if the weight is constant within an epoch (without ``by_epoch``: within an
            iteration), with the value of its end, as in methods that number epochs from 1.
        name: Option that the schedule comes from, for messages.

    Raises:
        ICKDError: If an option is out of range.

    Example:
        >>> schedule = WeightSchedule(2.0, warmup=4, decay="linear")
        >>> [schedule.at(time, run_length=8) for time in (0, 1, 4, 6, 8)]
        [0.0, 0.5, 2.0, 1.0, 0.0]
    """

    value: float = 1.0
    begin: float = 0
    end: float | None = None
    warmup: float = 0
    decay: str | None = None
    end_value: float = 0.0
    by_epoch: bool = False
    stepwise: bool = False
    name: str = field(default="loss_weight", compare=False)

    def __post_init__(self) -> None:
        try:
            for option in ("value", "begin", "warmup", "end_value"):
                check_number(getattr(self, option), option, least=0)
            check_choice(self.decay, DECAYS, "decay")
            check_flag(self.by_epoch, "by_epoch")
            check_flag(self.stepwise, "stepwise")
            if self.end is not None:
                check_number(self.end, "end", least=self.begin + self.warmup)
        except OptionError as error:
            raise error.inside(self.name) from error

    @property
    def is_off(self) -> bool:
        """True if the weight is 0 at every time."""
        return self.largest == 0

    @property
    def changes(self) -> bool:
        """True if the weight differs between two times."""
        decays = self.decay is not None and self.value != self.end_value
        starts_late = self.begin > 0 or self.warmup > 0 or self.end is not None
        return decays or (starts_late and not self.is_off)

    @property
    def starts_full(self) -> bool:
        """True if the weight has its full value from the first step on."""
        return self.value > 0 and self.begin == 0 and self.warmup == 0

    @property
    def largest(self) -> float:
        """Largest weight at any time."""
        return self.value if self.decay is None else max(self.value, self.end_value)

    @property
    def description(self) -> str:
        """Weight in words.

        Example:
            >>> WeightSchedule(4.0, decay="linear").description
            '4, linear decay to 0'
            >>> WeightSchedule(1.0, begin=2, warmup=30, end=90, by_epoch=True).description
            '1, 0 before epoch 2, rising for 30 epochs, 0 from epoch 90'
        """
        unit = "epoch" if self.by_epoch else "iteration"
        parts = [f"{self.value:g}"]
        if self.begin:
            parts.append(f"0 before {unit} {self.begin:g}")
        if self.warmup:
            parts.append(f"rising for {self.warmup:g} {unit}s")
        if self.decay is not None:
            parts.append(f"{self.decay} decay to {self.end_value:g}")
        if self.end is not None:
            parts.append(f"0 from {unit} {self.end:g}")
        return ", ".join(parts)

    def with_max_weights(self) -> WeightSchedule:
        """Return a schedule that has the largest weight at every time."""
        return WeightSchedule(self.largest, name=self.name)

    def at(self, time: float, run_length: float) -> float:
        """Return the weight at a time.

        Args:
            time: Iterations (or epochs, if ``by_epoch``) since the start of the run.
            run_length: Length of the run in the same unit.
        """
        if time < self.begin or (self.end is not None and time >= self.end):
            return 0.0
        if self.stepwise:
            time = math.floor(time) + 1
        full = self.begin + self.warmup
        if time < full:
            return self.value * (time - self.begin) / self.warmup
        if self.decay is None:
            return self.value
        last = run_length if self.end is None else self.end
        progress = 1.0 if last <= full else min(1.0, (time - full) / (last - full))
        if self.decay == "cosine":
            progress = (1 - math.cos(math.pi * progress)) / 2
        return self.value + (self.end_value - self.value) * progress

    def now(self, progress: TrainProgress) -> float:
        """Return the weight in the current step."""
        return self.at(*progress.measured(self.by_epoch))
