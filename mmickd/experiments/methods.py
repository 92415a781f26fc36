"""Methods of a tuning: the method of a config, and vanilla KD alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS

from mmickd.experiments.plan import Entry
from mmickd.experiments.search_space import Range, SearchSpace
from mmickd.hooks.entries import hook_entry
from mmickd.losses import KDLoss
from mmickd.losses.terms import DEFAULT_TERMS, TASK, Defaults
from mmickd.tasks import kind_of_task
from mmickd.teachers.models import model_config, without_initialisation
from mmickd.utils.config import parse_options, type_name
from mmickd.utils.errors import ICKDError

VANILLA = next(name for name, kind in DEFAULT_TERMS.items() if kind == KDLoss.__name__)
ALONE = f"{VANILLA} alone"
METRICS = {"Accuracy": "accuracy/top1", "IoUMetric": "mIoU"}
"""Default metric for the evaluators of most configs."""


@dataclass(frozen=True, eq=False)
class Method:
    """Method whose options are tuned."""

    entry: Entry  # name, config and fixed options
    ranges: tuple[Range, ...]
    content: dict[str, Any]  # config with options and unexpanded paths: the same on every machine

    @property
    def name(self) -> str:
        """Name in the tables."""
        return self.entry.name


def read_methods(
    cfg: Config, options: Sequence[str], vary: Sequence[str], out: Path
) -> list[Method]:
    """Return the method of a config, and vanilla KD alone unless it is the method of the config.

    The config of vanilla KD alone is written into ``out``.

    Args:
        cfg: Config read from its file, with the options merged.
        options: ``--cfg-options``.
        vary: Ranges of ``--vary``, see :meth:`.SearchSpace.ranges`.
        out: Folder for the config of vanilla KD.

    Raises:
        ICKDError: If the config does not have exactly one ICKDHook, or has nothing to search.
    """
    file, defaults = str(cfg.filename), _task_defaults(cfg)
    space = _space(cfg, defaults)
    ranges = space.ranges(vary)
    if not ranges:
        raise ICKDError(
            f"{file}: all terms of the hook's losses have weight 0, so there is nothing to search. "
            "Give a term a weight, or name a range with --vary."
        )
    active = [term.name for term in space.active]
    unexpanded = Config.fromfile(file)  # not cfg, whose expanded paths depend on the machine
    unexpanded.merge_from_dict(parse_options(options))
    entry = Entry(" + ".join(active), file, (*options, *space.schedule_options()))
    method = Method(entry, tuple(ranges), unexpanded.to_dict())
    is_vanilla = VANILLA in active and isinstance(space.terms[VANILLA].loss, KDLoss)
    if is_vanilla and len(active) == 1:
        return [method]
    losses = _losses(unexpanded)
    alone_losses: dict[str, Any] = dict.fromkeys(DEFAULT_TERMS)  # None switches a term off
    alone_losses[VANILLA] = losses.get(VANILLA, {}) if is_vanilla else {}
    if TASK in losses:
        alone_losses[TASK] = losses[TASK]
    cfg = copy.deepcopy(unexpanded)
    hook_entry(cfg)["losses"] = alone_losses
    cfg.pop("work_dir", None)
    entry = Entry(ALONE, str(out / f"{VANILLA}_alone.py"))
    out.mkdir(parents=True, exist_ok=True)
    cfg.dump(entry.config)
    removed = space.term_names - {VANILLA}
    vary = [text for text in vary if text.split(".")[0] not in removed]
    ranges = _space(cfg, defaults).ranges(vary)
    return [method, Method(entry, tuple(ranges), cfg.to_dict())]


def _losses(cfg: Config) -> dict[str, Any]:
    return hook_entry(cfg).get("losses") or {}


def _space(cfg: Config, defaults: Defaults) -> SearchSpace:
    entry = hook_entry(cfg)  # first, since a config without it may have no custom_hooks
    key = f"custom_hooks.{cfg.custom_hooks.index(entry)}.losses"
    return SearchSpace(cfg.to_dict(), key, _losses(cfg), defaults)


def metric_of(cfg: Config) -> str:
    """Return the key in the log of the metric of the config's evaluator.

    Raises:
        ICKDError: If the config has no validation, or its evaluator is not in :data:`METRICS`.
    """
    evaluator = cfg.get("val_evaluator")
    if evaluator is None or cfg.get("val_dataloader") is None:
        raise ICKDError(
            f"{cfg.filename} has no validation (val_dataloader, val_evaluator), so there is no "
            "result for the choice."
        )
    first = evaluator[0] if isinstance(evaluator, (list, tuple)) else evaluator
    name = type_name(first.get("type"))
    if name not in METRICS:
        raise ICKDError(
            f"val_evaluator is a {name}, whose metric is unknown: set --metric to the deciding key "
            "in the log; more must be better."
        )
    return METRICS[name]


def _task_defaults(cfg: Config) -> Defaults:
    """Return the defaults of the student's task for terms whose options the config omits."""
    try:
        with MODELS.switch_scope_and_registry(cfg.get("default_scope")) as registry:
            student = registry.build(ConfigDict(without_initialisation(model_config(cfg))))
    except Exception as error:
        raise ICKDError(
            f"the model of {cfg.filename} cannot be built ({type(error).__name__}: {error})."
        ) from error
    return kind_of_task(student).loss_defaults
