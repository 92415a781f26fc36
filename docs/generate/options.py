"""The page of all options of the hook."""

from __future__ import annotations

from docs.generate.docstrings import arguments, summary_of
from docs.generate.tables import table
from mmickd import (
    ClassificationTask,
    FaissRetriever,
    ICKDHook,
    OfflineTeacher,
    OnlineTeacher,
    RandomRetriever,
    SegmentationTask,
    SelfTeacher,
    TorchRetriever,
)
from mmickd.banks import BankOptions
from mmickd.losses import BaseLoss
from mmickd.losses.schedules import WeightSchedule
from mmickd.losses.terms import LossTerms
from mmickd.registry import LOSSES

TEACHERS = (OfflineTeacher, SelfTeacher, OnlineTeacher)
RETRIEVERS = (TorchRetriever, FaissRetriever, RandomRetriever)
HIDDEN = ("name",)
"""Arguments that configs do not set."""
TASKS = {"classifiers": ClassificationTask, "segmenters": SegmentationTask}


def options_page() -> str:
    """Return the page of the options of hook, teachers, bank and retrievers."""
    parts = [
        "# Options",
        "Look up every option of the hook entry: its type, default and meaning. Each option can be "
        "set on the\ncommand line too: `--cfg-options custom_hooks.0.bank.dtype=fp32`, where 0 is "
        "the place of the hook in `custom_hooks`.",
        _section("The hook: `mmickd.ICKDHook`", ICKDHook),
        "## Teachers\n\n`teacher=dict(type=..., ...)`; without a `type` it is `OfflineTeacher`.",
        *(_section(f"`{kind.__name__}`", kind, 3) for kind in TEACHERS),
        _section("The bank: `bank=dict(...)`", BankOptions),
        "## Retrievers\n\n`retriever=dict(type=..., ...)`; the default is `TorchRetriever`.",
        *(_section(f"`{kind.__name__}`", kind, 3) for kind in RETRIEVERS),
        default_terms(),
        _section("Weights: `loss_weight=dict(...)`", WeightSchedule),
    ]
    return "\n\n".join(parts) + "\n"


def losses_page() -> str:
    """Return the page of all registered losses."""
    kinds = sorted(
        (kind for kind in LOSSES.module_dict.values() if kind.__module__.startswith("mmickd.")),
        key=lambda kind: kind.__name__,
    )
    parts = [
        "# Losses",
        "Look up the losses that `losses=dict(name=dict(type=...))` takes, with their options. "
        "Every entry takes a\n`loss_weight` too.",
        *(_section(f"`{kind.__name__}`", kind) for kind in kinds),
    ]
    return "\n\n".join(parts) + "\n"


def default_terms() -> str:
    """Return the section of the terms that a config gets without naming them."""
    rows = []
    for task, kind in TASKS.items():
        for term in LossTerms.build(None, kind.loss_defaults):
            rows.append([task, f"`{term.name}`", term.description])
    text = (
        "## Default terms: `losses=dict(...)`\n\nThese terms are there unless they are `None`, "
        "with the same defaults whether a config names\nthem or not. Any other name with a `type` "
        "is one more term; [losses](losses.md) lists the types."
    )
    return f"{text}\n\n{table(['model', 'term', 'loss'], rows)}"


def _section(title: str, kind: type, level: int = 2) -> str:
    rows = [
        [f"`{a.name}`", f"`{a.kind}`", f"`{a.default}`" if a.default else "required", a.meaning]
        for a in arguments(kind, HIDDEN)
    ]
    parts = [f"{'#' * level} {title}", summary_of(kind)]
    if rows:
        parts.append(table(["option", "type", "default", "meaning"], rows))
    if issubclass(kind, BaseLoss) and kind.default_weight != BaseLoss.default_weight:
        parts.append(f"Its default `loss_weight` is {kind.default_weight:g}.")
    return "\n\n".join(parts)
