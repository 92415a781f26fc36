"""Weights that change over a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mmickd.utils.errors import OptionError
from mmickd.utils.validation import check_choice, check_flag, check_number

DECAYS = (None, "linear", "cosine")


@dataclass(frozen=True)
class TrainProgress:
    """Where a run stands.

    Args:
        iteration: that runs now, from 0.
        max_iterations: of the run.
        epoch_length: iterations in which the training set is seen once.

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
        """Now, and the length of the run, in epochs or in iterations.

        Epochs are counted in iterations, which loops by iteration count too.
        """
        unit = self.epoch_length if by_epoch else 1
        return self.iteration / unit, self.max_iterations / unit

    @property
    def ends_epoch(self) -> bool:
        """Whether the iteration is the last one of an epoch."""
        return (self.iteration + 1) % self.epoch_length == 0


@dataclass(frozen=True)
class WeightSchedule:
    """A loss weight as a function of the time in the run; nothing but the time, so it resumes.

    From ``begin`` the weight rises linearly from 0 to ``value`` over ``warmup``, then stays or
    decays to ``end_value`` at ``end``, and is 0 after ``end``. Times are iterations, or (also
    fractional) epochs. Our choice of shapes.

    Args:
        value: the full weight, at least 0.
        begin: when it starts.
        end: when it stops; None: never (a decay then ends with the run).
        warmup: how long it rises.
        decay: None, 'linear' or 'cosine'.
        end_value: weight at the end of the decay.
        by_epoch: whether times are epochs.
        stepwise: the weight keeps through an epoch (an iteration, without ``by_epoch``) the value
            that it has at its end, as in methods that number epochs from 1.

    Raises:
        ICKDError: if an option is out of range.

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
        """Whether the weight is 0 at every time."""
        return self.largest == 0

    @property
    def changes(self) -> bool:
        """Whether the weight is not the same at every time."""
        decays = self.decay is not None and self.value != self.end_value
        starts_late = self.begin > 0 or self.warmup > 0 or self.end is not None
        return decays or (starts_late and not self.is_off)

    @property
    def starts_full(self) -> bool:
        """Whether the weight is at its full value from the first step on."""
        return self.value > 0 and self.begin == 0 and self.warmup == 0

    @property
    def largest(self) -> float:
        """The largest weight that it can give."""
        return self.value if self.decay is None else max(self.value, self.end_value)

    def with_max_weights(self) -> WeightSchedule:
        """The largest weight at every time."""
        return WeightSchedule(self.largest, name=self.name)

    def at(self, time: float, run_length: float) -> float:
        """The weight.

        Args:
            time: iterations (or epochs, if ``by_epoch``) since the start of the run.
            run_length: length of the run in the same unit.
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
        done = 1.0 if last <= full else min(1.0, (time - full) / (last - full))
        if self.decay == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        return self.value + (self.end_value - self.value) * done

    def now(self, time: TrainProgress) -> float:
        """The weight at a time of a run."""
        return self.at(*time.measured(self.by_epoch))
