"""What is tuned: the method of a config, and vanilla KD alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS

from mmickd.experiments.plan import Entry
from mmickd.experiments.search_space import Range, narrowed, ranges_of, unnamed_schedules
from mmickd.hooks.entries import hook_entry
from mmickd.losses import KDLoss
from mmickd.losses.terms import DEFAULT_TERMS, TASK, Defaults, LossTerms
from mmickd.tasks import kind_of_task
from mmickd.teachers.models import model_config, without_initialisation
from mmickd.utils.config import parse_options, type_name
from mmickd.utils.errors import ICKDError

VANILLA = next(name for name, kind in DEFAULT_TERMS.items() if kind == KDLoss.__name__)
ALONE = f"{VANILLA} alone"
METRICS = {"Accuracy": "accuracy/top1", "IoUMetric": "mIoU"}
"""Of the evaluators that most configs have: what is taken where a user names nothing."""


@dataclass(frozen=True, eq=False)
class Method:
    """What gets trials of its own.

    Args:
        trainee: its name, config and fixed options.
        ranges: what is searched.
        content: the whole config as it is written, options included; the same on every machine.
    """

    trainee: Entry
    ranges: tuple[Range, ...]
    content: dict[str, Any]

    @property
    def name(self) -> str:
        """What the tables call it."""
        return self.trainee.name


def read_methods(
    cfg: Config, options: Sequence[str], vary: Sequence[str], out: Path
) -> list[Method]:
    """The method of a config, and vanilla KD alone unless the config is just that.

    The latter is written into ``out`` as a config of its own.

    Args:
        cfg: read from its file, with the options in it.
        options: ``--cfg-options``.
        vary: ranges given by hand; none: those of :func:`.ranges_of`.
        out: a folder.

    Raises:
        ICKDError: if the config has not exactly one hook, or nothing to search.
    """
    file = str(cfg.filename)
    defaults = _task_defaults(cfg)
    terms = _terms(cfg, defaults)
    counting = [term.name for term in terms if not term.schedule.is_off]
    name = " + ".join(counting)
    ranges = _ranges(cfg, defaults, vary)
    if not ranges:
        raise ICKDError(f"{file}: no term of the config counts, so there is nothing to search.")
    fixed = unnamed_schedules(terms, _losses(cfg), _place(cfg))
    trainee = Entry(name, file, (*options, *fixed), minutes=10)
    written = _as_written(file, options)
    method = Method(trainee, tuple(ranges), written.to_dict())
    if counting == [VANILLA] and isinstance(terms[VANILLA].loss, KDLoss):
        return [method]
    alone = _vanilla_alone(written, terms)
    at_hand = [text for text in vary if text.split(".")[0] not in {*names_of(cfg)} - {VANILLA}]
    trainee = Entry(ALONE, str(out / f"{VANILLA}_alone.py"), (), minutes=10)
    out.mkdir(parents=True, exist_ok=True)
    alone.dump(trainee.config)
    ranges = _ranges(alone, defaults, at_hand)
    return [method, Method(trainee, tuple(ranges), alone.to_dict())]


def metric_of(cfg: Config) -> str:
    """Key in the log of what the config's evaluator finds.

    Raises:
        ICKDError: if nothing is validated, or the evaluator is none of :data:`METRICS`.
    """
    evaluator = cfg.get("val_evaluator")
    if evaluator is None or cfg.get("val_dataloader") is None:
        raise ICKDError(
            f"{cfg.filename} validates on nothing (val_dataloader, val_evaluator), so there is "
            "nothing to choose by."
        )
    first = evaluator[0] if isinstance(evaluator, (list, tuple)) else evaluator
    name = type_name(first.get("type"))
    if name not in METRICS:
        raise ICKDError(
            f"val_evaluator is a {name}: say by --metric which key of the log is to be chosen by, "
            "of which more is better."
        )
    return METRICS[name]


def _task_defaults(cfg: Config) -> Defaults:
    """What the task of the student changes of terms that the config does not spell out."""
    try:
        with MODELS.switch_scope_and_registry(cfg.get("default_scope")) as registry:
            student = registry.build(ConfigDict(without_initialisation(model_config(cfg))))
    except Exception as error:
        raise ICKDError(
            f"the model of {cfg.filename} cannot be built ({type(error).__name__}: {error})."
        ) from error
    return kind_of_task(student).loss_defaults


def _place(cfg: Config) -> str:
    """Key of the hook's losses."""
    return f"custom_hooks.{cfg.custom_hooks.index(hook_entry(cfg))}.losses"


def _losses(cfg: Config) -> dict[str, Any]:
    return hook_entry(cfg).get("losses") or {}


def _terms(cfg: Config, defaults: Defaults) -> LossTerms:
    return LossTerms.build(_losses(cfg), defaults)


def names_of(cfg: Config) -> set[str]:
    """Of the terms that the config could have as it is, those that it switches off too."""
    return {*DEFAULT_TERMS, *_losses(cfg)}


def _ranges(cfg: Config, defaults: Defaults, vary: Sequence[str]) -> list[Range]:
    key = _place(cfg)
    found = ranges_of(_terms(cfg, defaults), _losses(cfg), key)
    return narrowed(list(vary), found, names_of(cfg), cfg.to_dict(), key) if vary else found


def _vanilla_alone(cfg: Config, terms: LossTerms) -> Config:
    """The same run with vanilla KD as its only term, as the config has it if it does."""
    own = VANILLA in terms and not terms[VANILLA].schedule.is_off
    own = own and isinstance(terms[VANILLA].loss, KDLoss)
    losses = _losses(cfg)
    alone: dict[str, Any] = dict.fromkeys(DEFAULT_TERMS)  # off; others are by absence
    alone[VANILLA] = losses.get(VANILLA, {}) if own else {}
    if TASK in losses:
        alone[TASK] = losses[TASK]
    cfg = copy.deepcopy(cfg)
    hook_entry(cfg)["losses"] = alone
    cfg.pop("work_dir", None)
    return cfg


def _as_written(file: str, options: Sequence[str]) -> Config:
    """Read a config without what depends on the machine: expanded paths, defaults of loaders."""
    cfg = Config.fromfile(file)
    cfg.merge_from_dict(parse_options(options))
    return cfg
