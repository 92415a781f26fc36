"""The three terms with their weights, as a config gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmickd.losses.kd import KDLoss
from mmickd.losses.nicd import NICDLoss
from mmickd.losses.picd import PICDLoss
from mmickd.schedules import WeightSchedule
from mmickd.utils.options import (
    check_dict,
    check_integer,
    check_names,
    check_positive,
    parameters_of,
)

KINDS = {"kd": KDLoss, "picd": PICDLoss, "nicd": NICDLoss}
DEFAULT_WEIGHTS = {"kd": 1.0, "picd": 0.3, "nicd": 1.0}


@dataclass(frozen=True)
class LossTerms:
    """Losses and weight schedules by name; a term that is switched off is missing.

    Args:
        modules: of 'kd', 'picd', 'nicd'.
        schedules: the same names.
    """

    modules: dict[str, Any]
    schedules: dict[str, WeightSchedule]

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

    def weights(self, time: dict[bool, tuple[float, float]]) -> dict[str, float]:
        """The weights now.

        Args:
            time: (now, length of the run) in epochs under True, in iterations under False.
        """
        return {name: s.at(*time[s.by_epoch]) for name, s in self.schedules.items()}

    @classmethod
    def of(cls, losses: Any, kd_temperature: float) -> LossTerms:
        """From the hook's ``losses``: an omitted term keeps its default, None switches it off.

        Args:
            losses: dict of dicts, or None.
            kd_temperature: default temperature of vanilla KD for the task.

        Raises:
            ICKDError: if a name is unknown or a value out of range.
        """
        losses = check_dict(losses, KINDS, "losses")
        modules, schedules = {}, {}
        for name, kind in KINDS.items():
            if name in losses and losses[name] is None:
                continue
            where = f"losses.{name}"
            allowed = ["loss_weight", *parameters_of(kind)]
            options = check_dict(losses.get(name), allowed, where)
            weight = options.pop("loss_weight", DEFAULT_WEIGHTS[name])
            if isinstance(weight, dict):
                fields = [f for f in WeightSchedule.__dataclass_fields__ if f != "name"]
                check_names(weight, fields, f"{where}.loss_weight")
            schedules[name] = WeightSchedule.of(weight, f"{where}.loss_weight")
            if name == "kd":
                options.setdefault("temperature", kd_temperature)
            module = kind(**options)
            _check_ranges(module, where)
            modules[name] = module
        return cls(modules, schedules)


def _check_ranges(module: Any, where: str) -> None:
    check_positive(module.temperature, f"{where}.temperature")
    if isinstance(module, PICDLoss):
        check_positive(module.sim_temperature, f"{where}.sim_temperature", infinite=True)
        check_integer(module.num_positives, 1, f"{where}.num_positives", none=True)
    if isinstance(module, NICDLoss):
        check_integer(module.num_negatives, 0, f"{where}.num_negatives")
