"""The options of the hook, checked when the config is read."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from mmengine.logging import print_log

from mmickd.banks.options import BankOptions
from mmickd.losses.terms import LossTerms
from mmickd.registry import RETRIEVERS, TEACHERS, build_part
from mmickd.retrieval import BaseRetriever
from mmickd.tasks import Level, level_names
from mmickd.teachers import Teacher
from mmickd.utils.errors import ICKDError, OptionError
from mmickd.utils.text import safe_repr
from mmickd.utils.validation import check_choice, check_dict, check_flag, check_integer


@dataclass(frozen=True)
class HookOptions:
    """All options of :class:`~mmickd.hooks.ICKDHook`, with what can be built from them alone.

    Args:
        teacher: built from its config, without its network.
        level: names of the levels; None: the task's first.
        layer: the student's classifier layer, or 'auto'.
        query: 'view' or 'bank'.
        bank: its options.
        anchors: queries per image, where a level samples.
        retriever: built from its config.
        losses: as given; the defaults of its terms depend on the task.
        exclude_same_id: leave out rows of the query's own image.
    """

    teacher: Teacher
    level: tuple[str, ...] | None
    layer: str
    query: str
    bank: BankOptions
    anchors: int
    retriever: BaseRetriever
    losses: Any
    exclude_same_id: bool

    def __post_init__(self) -> None:
        check_choice(self.query, ("view", "bank"), "query")
        check_integer(self.anchors, 1, "anchors")
        check_flag(self.exclude_same_id, "exclude_same_id")
        if not isinstance(self.layer, str):
            raise OptionError("layer", self.layer, "it must be 'auto' or the name of a layer.")
        if self.bank.shard and self.query == "bank":
            raise ICKDError(
                "query='bank' looks its rows up in the whole bank, of which a rank has only a part "
                "with bank.shard=True. Use query='view', or bank.shard=False."
            )
        if self.bank.momentum is not None and not self.teacher.supports_bank_momentum:
            raise ICKDError(
                "bank.momentum is for the queues of peers (OnlineTeacher); the average of a "
                "SelfTeacher has its own, teacher.momentum."
            )
        if self.bank.unused_by_queues and not self.teacher.is_frozen:
            print_log(
                f"bank.{', bank.'.join(self.bank.unused_by_queues)}: for the bank of a frozen "
                "teacher. This teacher learns, and its queue is fed by the steps: without effect "
                "here.",
                logger="current",
                level=logging.WARNING,
            )

    @classmethod
    def read(cls, cfg: Mapping[str, Any]) -> HookOptions:
        """From the arguments of the hook.

        Raises:
            ICKDError: with what would be right.
        """
        LossTerms.build(cfg["losses"])
        return cls(
            **{
                **cfg,
                "teacher": build_part(
                    TEACHERS, cfg["teacher"], "OfflineTeacher", "teacher", base=Teacher
                ),
                "retriever": build_part(
                    RETRIEVERS, cfg["retriever"], "TorchRetriever", "retriever", base=BaseRetriever
                ),
                "bank": _bank(cfg["bank"]),
                "level": _levels(cfg["level"]),
            }
        )

    def check_queue(self, all_terms: Sequence[LossTerms]) -> None:
        """Refuse what a teacher that learns cannot offer.

        Args:
            all_terms: whose terms ask the queues.

        Raises:
            ICKDError: if an option needs the frozen bank of a frozen teacher, or the queue is
                shorter than what is to be retrieved from one class of it.
        """
        if self.query == "bank":
            raise ICKDError(
                "query='bank' needs a frozen bank with a row of every image; this teacher learns, "
                "and its queue holds the latest rows. Use query='view'."
            )
        if self.bank.shard:
            raise ICKDError(
                "bank.shard=True deals the bank of a frozen teacher; the queue of a teacher that "
                "learns is small and lies on every rank. Use bank.shard=False."
            )
        if not self.retriever.searches_queues:
            raise ICKDError(
                f"{type(self.retriever).__name__} searches frozen banks; this teacher learns, and "
                "its queue changes with every step. Use retriever=dict(type='TorchRetriever')."
            )
        capacity = self.bank.queue_capacity
        for terms in all_terms:
            for term in terms.retrieving:
                wanted = term.loss.num_positives
                if wanted is not None and capacity < wanted:
                    raise ICKDError(
                        f"bank.capacity_per_class={capacity} is less than "
                        f"{terms.where}.{term.name}.num_positives={wanted}: a queue must hold as "
                        "many rows of a class as are to be retrieved."
                    )

    def choose_levels(self, offered: Mapping[str, Level]) -> tuple[str, ...]:
        """The levels, once the task is known.

        Args:
            offered: by the task.

        Raises:
            ICKDError: if the task does not offer one, or 'bank' queries cannot be asked at one.
        """
        names = self.level or tuple(offered)[:1]
        for name in names:
            if name not in offered:
                raise ICKDError(
                    f"level='{name}' does not fit this model, which offers "
                    f"{' and '.join(offered)}: classifiers have images, segmenters pixels and "
                    "regions."
                )
            if self.query == "bank" and not offered[name].has_own_rows:
                raise ICKDError(
                    f"query='bank' needs one bank row per query; an augmented {name} has none. Use "
                    f"query='view' at {name} level."
                )
        return names


def _bank(given: Any) -> BankOptions:
    options = check_dict(given, "bank", [field.name for field in fields(BankOptions)])
    try:
        return BankOptions(**options)
    except OptionError as error:
        raise error.inside("bank") from error


def _levels(level: Any) -> tuple[str, ...] | None:
    if level is None:
        return None
    levels = [level] if isinstance(level, str) else level
    known = level_names()
    if not isinstance(levels, (list, tuple)) or not levels:
        raise ICKDError(
            f"level={safe_repr(level)}: it must be one of {', '.join(known)}, or a list."
        )
    for one in levels:
        check_choice(one, known, "level")
    if len(set(levels)) != len(levels):
        raise ICKDError(f"level={safe_repr(level)} names a level twice.")
    return tuple(levels)
