"""Terms of the total loss with their weights, built from the hook's ``losses``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from inspect import signature
from types import MappingProxyType
from typing import Any

from mmickd.losses.base import BaseLoss
from mmickd.losses.schedules import TrainProgress, WeightSchedule
from mmickd.registry import LOSSES, build_part
from mmickd.utils.config import type_name
from mmickd.utils.errors import ICKDError
from mmickd.utils.text import safe_repr
from mmickd.utils.validation import check_dict, check_names, parameters_of

DEFAULT_TERMS = {"kd": "KDLoss", "picd": "PICDLoss", "nicd": "NICDLoss"}
"""Terms that exist unless a config switches them off, with the types of their losses."""
TASK = "task"
"""Name of the task's own losses among the terms."""
MAX_NAME_LENGTH = 64
"""Maximum length of a term's name."""
COMPLEMENT = "complement"
"""Weight of the task's losses that is 1 minus the weight of the terms without context (KD)."""


Defaults = Mapping[str, Mapping[str, Any]]
"""Defaults of a task: options by type of loss that differ from the defaults of the loss."""
ALWAYS_DESCRIBED = ("temperature", "num_positives", "num_negatives", "num_rows")
"""Options that the description of a term has even if they have their defaults."""


@dataclass(frozen=True)
class Term:
    """Loss with its name and weight.

    Args:
        name: Name of the term; logged as ``loss_<name>``.
        loss: Loss of each query.
        schedule: Weight over the run.
        options: Options of the loss, of the config or the task's defaults.

    Example:
        >>> LossTerms.build(None)["nicd"].description
        'NICDLoss, weight 1, temperature 0.5, num_negatives 32'
    """

    name: str
    loss: BaseLoss
    schedule: WeightSchedule
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def retrieves(self) -> bool:
        """True if the term needs a context at some time of the run."""
        return self.loss.retrieves and not self.schedule.is_off

    @property
    def description(self) -> str:
        """Type, weight, and the options that matter or differ from the defaults of the loss."""
        kind = type(self.loss)
        defaults = {name: signature(kind).parameters[name].default for name in parameters_of(kind)}
        described = [
            f"{name} {_text(name, value)}"
            for name, value in {**defaults, **self.options}.items()
            if name in ALWAYS_DESCRIBED or name not in defaults or value != defaults[name]
        ]
        return ", ".join([kind.__name__, f"weight {self.schedule.description}", *described])


class LossTerms:
    """Terms by name, in their order, and the weight of the task's own losses.

    Args:
        terms: Terms that are not switched off, by name.
        task: Weight of the task's own losses; None: :data:`COMPLEMENT`.
        where: Option that the terms come from, for messages.

    Example:
        >>> terms = LossTerms.build(dict(picd=None, kd=dict(loss_weight=2.0)))
        >>> [term.name for term in terms], terms["nicd"].loss.num_negatives
        (['kd', 'nicd'], 32)
        >>> terms.weights(TrainProgress(0, 10, 10))
        {'kd': 2.0, 'nicd': 1.0}
    """

    def __init__(
        self, terms: Mapping[str, Term], task: WeightSchedule | None, where: str = "losses"
    ) -> None:
        self._terms, self._task, self.where = dict(terms), task, where

    def __iter__(self) -> Iterator[Term]:
        return iter(self._terms.values())

    def __contains__(self, name: str) -> bool:
        return name in self._terms

    def __getitem__(self, name: str) -> Term:
        return self._terms[name]

    @property
    def retrieving(self) -> list[Term]:
        """Terms that need a context at some time of the run."""
        return [term for term in self if term.retrieves]

    @property
    def without_context(self) -> list[Term]:
        """Terms whose losses retrieve nothing, such as vanilla KD."""
        return [term for term in self if not term.loss.retrieves]

    @property
    def descriptions(self) -> dict[str, str]:
        """Descriptions of the task's losses (:data:`TASK`) and of each term, by name."""
        if self._task is None:
            weight = f"1 minus the weight of {' and '.join(t.name for t in self.without_context)}"
        else:
            weight = self._task.description
        return {TASK: f"weight {weight}"} | {term.name: term.description for term in self}

    @property
    def changing(self) -> list[str]:
        """Names of the terms whose weight changes, with :data:`TASK` if the task's weight does."""
        names = [term.name for term in self if term.schedule.changes]
        if self._task is None:
            follows = any(term.name in names for term in self.without_context)
        else:
            follows = self._task.changes
        return [*names, TASK] if follows else names

    def weights(self, progress: TrainProgress) -> dict[str, float]:
        """Return the weights in the current step, by name of the term."""
        return {term.name: term.schedule.now(progress) for term in self}

    def task_weight(self, progress: TrainProgress, weights: Mapping[str, float]) -> float:
        """Return the weight of the task's own losses in the current step.

        Args:
            progress: Position of the step in the run.
            weights: Weights of the terms in this step.
        """
        if self._task is None:
            return 1.0 - sum(weights[term.name] for term in self.without_context)
        return self._task.now(progress)

    def with_max_weights(self) -> LossTerms:
        """Return the same terms, each at its largest weight at every time.

        Example:
            >>> late = dict(value=2.0, begin=500)
            >>> terms = LossTerms.build(dict(kd=dict(loss_weight=late), picd=None, nicd=None))
            >>> terms.with_max_weights().weights(TrainProgress(0, 1000, 10))
            {'kd': 2.0}
        """
        terms = {
            term.name: replace(term, schedule=term.schedule.with_max_weights()) for term in self
        }
        return LossTerms(terms, self._task and self._task.with_max_weights(), self.where)

    @classmethod
    def build(
        cls, losses: Any, defaults: Defaults = MappingProxyType({}), where: str = "losses"
    ) -> LossTerms:
        """Build the terms of a config; None switches a default term off.

        Args:
            losses: None, or dict by name of a term: the ``type`` of a registered loss (optional for
                :data:`DEFAULT_TERMS`), its options and ``loss_weight``.
            defaults: Defaults of the task.
            where: Name of the option, for messages.

        Raises:
            ICKDError: If a name is unknown or a value out of range.
        """
        config = check_dict(losses, where)
        untyped = [n for n, o in config.items() if not (isinstance(o, Mapping) and "type" in o)]
        check_names(untyped, [TASK, *DEFAULT_TERMS], where, ", or any name with a 'type'")
        for name in config:
            if (
                not isinstance(name, str)
                or not name.isidentifier()
                or "loss" in name
                or len(name) > MAX_NAME_LENGTH
            ):
                raise ICKDError(
                    f"{where} has a term {safe_repr(name)}: the name must be a plain word of at "
                    f"most {MAX_NAME_LENGTH} letters without 'loss' in it, since mmengine adds up "
                    "all logged values with 'loss' in their names."
                )
        task = config.pop(TASK, {})
        terms = {
            name: _term(name, options, defaults, f"{where}.{name}")
            for name, options in {**{name: {} for name in DEFAULT_TERMS}, **config}.items()
            if options is not None
        }
        return cls(terms, _task_schedule(task, terms, where), where)


def _term(name: str, config: Any, defaults: Defaults, where: str) -> Term:
    options = check_dict(config, where)
    kind = options.setdefault("type", DEFAULT_TERMS.get(name))
    options = {**defaults.get(type_name(kind), {}), **options}
    weight = options.pop("loss_weight", None)
    loss = build_part(LOSSES, options, type_name(kind), where, ("loss_weight",), BaseLoss)
    if loss.is_dense and loss.retrieves:
        raise ICKDError(
            f"{where}: {type(loss).__name__} has is_dense=True, but dense losses retrieve no "
            "rows: set its num_positives and num_negatives to 0, or is_dense to False."
        )
    if next(loss.parameters(), None) is not None:
        raise ICKDError(
            f"{where}: {type(loss).__name__} has parameters, but no optimizer would train them: "
            "use a loss without parameters."
        )
    schedule = _schedule(loss.default_weight if weight is None else weight, where)
    del options["type"]
    return Term(name, loss, schedule, options)


def _text(name: str, value: Any) -> str:
    """Return the value of an option in a few words."""
    if isinstance(value, Mapping):
        return type_name(value.get("type", "dict"))
    return "all" if value is None and name.startswith("num_") else safe_repr(value)


def _schedule(weight: Any, where: str) -> WeightSchedule:
    where = f"{where}.loss_weight"
    if isinstance(weight, Mapping):
        check_names(weight, [f.name for f in fields(WeightSchedule) if f.name != "name"], where)
        return WeightSchedule(**weight, name=where)
    return WeightSchedule(weight, name=where)


def _task_schedule(task: Any, terms: Mapping[str, Term], where: str) -> WeightSchedule | None:
    config = {"loss_weight": 0.0} if task is None else task
    weight = check_dict(config, f"{where}.{TASK}", ["loss_weight"]).get("loss_weight", 1.0)
    if not isinstance(weight, str) or weight != COMPLEMENT:
        return _schedule(weight, f"{where}.{TASK}")
    counted = [term for term in terms.values() if not term.loss.retrieves]
    if not counted or sum(term.schedule.largest for term in counted) > 1:
        names = [term.name for term in counted] or list(DEFAULT_TERMS)[:1]
        raise ICKDError(
            f"{where}.{TASK}.loss_weight='{COMPLEMENT}' is 1 minus the weight of vanilla KD (of "
            "all terms without context), so that weight must exist and never be more than 1: set "
            f"{' and '.join(f'{where}.{name}.loss_weight' for name in names)}."
        )
    return None
