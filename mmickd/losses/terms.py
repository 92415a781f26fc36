"""The terms with their weights, as a config gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmickd.losses.kd import DIVERGENCES, KDLoss
from mmickd.losses.nicd import NICDLoss
from mmickd.losses.picd import PICDLoss
from mmickd.schedules import RunTime, WeightSchedule
from mmickd.utils.errors import ICKDError
from mmickd.utils.options import (
    check_choice,
    check_dict,
    check_integer,
    check_names,
    check_positive,
    parameters_of,
)

KINDS = {"kd": KDLoss, "picd": PICDLoss, "nicd": NICDLoss}
DEFAULT_WEIGHTS = {"kd": 1.0, "picd": 0.3, "nicd": 1.0}
COMPLEMENT = "complement"
"""Weight of the task's losses that is 1 minus that of KD."""


@dataclass(frozen=True)
class LossTerms:
    """Losses and weight schedules by name; a term that is switched off is missing.

    Args:
        modules: of 'kd', 'picd', 'nicd'.
        schedules: the same names.
        task: weight of the task's own losses; None: :data:`COMPLEMENT`.
    """

    modules: dict[str, Any]
    schedules: dict[str, WeightSchedule]
    task: WeightSchedule | None

    def __contains__(self, name: str) -> bool:
        return name in self.modules

    @property
    def num_positives(self) -> int | None:
        """Positives to retrieve; 0 without PICD."""
        return self.modules["picd"].num_positives if "picd" in self else 0

    @property
    def num_negatives(self) -> int:
        """Negatives to retrieve; 0 without NICD."""
        return self.modules["nicd"].num_negatives if "nicd" in self else 0

    @property
    def needs_bank(self) -> bool:
        """Whether any term retrieves."""
        return self.num_positives != 0 or self.num_negatives != 0

    def weights(self, time: RunTime) -> dict[str, float]:
        """The weights now, by name of the term."""
        return {name: s.at(*time.of(s.by_epoch)) for name, s in self.schedules.items()}

    def task_weight(self, time: RunTime, weights: dict[str, float]) -> float:
        """The weight of the task's own losses now.

        Args:
            time: now.
            weights: of the terms now.
        """
        if self.task is None:
            return 1.0 - weights["kd"]
        return self.task.at(*time.of(self.task.by_epoch))

    @classmethod
    def of(cls, losses: Any, kd_temperature: float, where: str = "losses") -> LossTerms:
        """From the hook's ``losses``: an omitted term keeps its default, None switches it off.

        Args:
            losses: dict of dicts, or None.
            kd_temperature: default temperature of vanilla KD for the task.
            where: the option's name, for messages.

        Raises:
            ICKDError: if a name is unknown or a value out of range.
        """
        losses = check_dict(losses, ["task", *KINDS], where)
        modules, schedules = {}, {}
        for name, kind in KINDS.items():
            if name in losses and losses[name] is None:
                continue
            own = f"{where}.{name}"
            allowed = ["loss_weight", *parameters_of(kind)]
            options = check_dict(losses.get(name), allowed, own)
            weight = options.pop("loss_weight", DEFAULT_WEIGHTS[name])
            schedules[name] = _schedule(weight, own)
            if name == "kd":
                options.setdefault("temperature", kd_temperature)
            module = kind(**options)
            _check_ranges(module, own)
            modules[name] = module
        task = _task_schedule(losses.get("task", {}), schedules, where)
        return cls(modules, schedules, task)


def _schedule(weight: Any, where: str) -> WeightSchedule:
    where = f"{where}.loss_weight"
    if isinstance(weight, dict):
        check_names(weight, [f for f in WeightSchedule.__dataclass_fields__ if f != "name"], where)
    return WeightSchedule.of(weight, where)


def _task_schedule(
    task: Any, schedules: dict[str, WeightSchedule], where: str
) -> WeightSchedule | None:
    given = {"loss_weight": 0.0} if task is None else task
    weight = check_dict(given, ["loss_weight"], f"{where}.task").get("loss_weight", 1.0)
    if weight != COMPLEMENT:
        return _schedule(weight, f"{where}.task")
    if "kd" not in schedules or schedules["kd"].largest > 1:
        raise ICKDError(
            f"{where}.task.loss_weight='{COMPLEMENT}' is 1 minus the weight of KD, which must "
            f"therefore be there and never be more than 1: see {where}.kd.loss_weight."
        )
    return None


def _check_ranges(module: Any, where: str) -> None:
    check_positive(module.temperature, f"{where}.temperature")
    if isinstance(module, KDLoss):
        check_choice(module.divergence, DIVERGENCES, f"{where}.divergence")
        check_positive(module.emphasis, f"{where}.emphasis")
        if module.emphasis < 1:
            raise ICKDError(f"{where}.emphasis={module.emphasis}: it must be at least 1.")
    if isinstance(module, PICDLoss):
        check_positive(module.sim_temperature, f"{where}.sim_temperature", infinite=True)
        check_integer(module.num_positives, 1, f"{where}.num_positives", none=True)
    if isinstance(module, NICDLoss):
        check_integer(module.num_negatives, 0, f"{where}.num_negatives")
