"""Options of the hook, checked when the config is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from mmickd.banks.options import BankOptions
from mmickd.diagnostics.finding import Finding
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
    """Options of :class:`~mmickd.hooks.ICKDHook`, and the teacher and retriever built from them.

    Args:
        teacher: Teacher, without its network.
        level: Names of the levels; None: the first level of the task.
        layer: Name of the student's classifier layer, or 'auto'.
        query: 'view' or 'bank'.
        bank: Options of the memory bank.
        anchors: Queries per image, where a level samples.
        retriever: Retriever of the bank's rows.
        losses: Config of the terms, whose defaults depend on the task.
        exclude_same_id: True if rows of the query's image are left out.
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
        LossTerms.build(self.losses)
        check_choice(self.query, ("view", "bank"), "query")
        check_integer(self.anchors, 1, "anchors")
        check_flag(self.exclude_same_id, "exclude_same_id")
        if not isinstance(self.layer, str):
            raise OptionError("layer", self.layer, "it must be 'auto' or the name of a layer.")
        if self.bank.shard and self.query == "bank":
            raise ICKDError(
                "query='bank' needs the whole bank on each rank; with bank.shard=True a rank has "
                "only a part of it. Use query='view', or bank.shard=False."
            )
        if self.bank.momentum is not None and not self.teacher.supports_bank_momentum:
            raise ICKDError(
                "bank.momentum is for the queues of peers (OnlineTeacher). Remove it; the momentum "
                "of a SelfTeacher is teacher.momentum."
            )

    def with_sample(self, images: int) -> HookOptions:
        """Return the options for a small bank, which is built from few images and not cached.

        Args:
            images: Maximum number of images of the bank.
        """
        limit = self.bank.max_images
        images = images if limit is None else min(images, limit)
        return replace(self, bank=replace(self.bank, max_images=images, cache_dir=None))

    def unused_option_findings(self) -> Iterator[Finding]:
        """Yield a finding if options of a frozen bank are set for a teacher that learns."""
        if self.bank.unused_by_queues and not self.teacher.is_frozen:
            yield Finding(
                "unused_options",
                "warning",
                f"bank.{', bank.'.join(self.bank.unused_by_queues)}: no effect with this teacher, "
                "which learns and fills its queues in training; these options are for the bank of "
                "a frozen teacher. Remove them.",
            )

    def check_queue(self, all_terms: Sequence[LossTerms]) -> None:
        """Check that the options fit the queues of a teacher that learns.

        Args:
            all_terms: Terms of each network that queries the queues.

        Raises:
            ICKDError: If an option needs the bank of a frozen teacher, or a queue holds fewer rows
                of a class than a term retrieves.
        """
        if self.query == "bank":
            raise ICKDError(
                "query='bank' needs a frozen bank with a row of every image; this teacher learns, "
                "and its queue holds the latest rows. Use query='view'."
            )
        if self.bank.shard:
            raise ICKDError(
                "bank.shard=True shards the bank of a frozen teacher; the queue of a teacher that "
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
                positives = term.loss.num_positives
                if positives is not None and capacity < positives:
                    raise ICKDError(
                        f"bank.capacity_per_class={capacity} is less than "
                        f"{terms.where}.{term.name}.num_positives={positives}: a queue must hold "
                        "as many rows of a class as are retrieved. Set bank.capacity_per_class "
                        "higher."
                    )

    def choose_levels(self, offered: Mapping[str, Level]) -> tuple[str, ...]:
        """Return the names of the levels.

        Args:
            offered: Levels of the task, by name.

        Raises:
            ICKDError: If the task does not have a level, or a level does not support query='bank'.
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


def build_teacher(cfg: Any) -> Teacher:
    """Return the teacher of a config, without its network."""
    return build_part(TEACHERS, cfg, "OfflineTeacher", "teacher", base=Teacher)


def build_retriever(cfg: Any) -> BaseRetriever:
    """Return the retriever of a config."""
    return build_part(RETRIEVERS, cfg, "TorchRetriever", "retriever", base=BaseRetriever)


def read_bank_options(cfg: Any) -> BankOptions:
    """Return the options of the hook's ``bank``."""
    options = check_dict(cfg, "bank", [field.name for field in fields(BankOptions)])
    try:
        return BankOptions(**options)
    except OptionError as error:
        raise error.inside("bank") from error


def read_levels(level: Any) -> tuple[str, ...] | None:
    """Return the names of the hook's ``level``; None stands for the first level of the task."""
    if level is None:
        return None
    levels = [level] if isinstance(level, str) else level
    choices = level_names()
    if not isinstance(levels, (list, tuple)) or not levels:
        raise ICKDError(
            f"level={safe_repr(level)}: it must be one of {', '.join(choices)}, or a list of these."
        )
    for name in levels:
        check_choice(name, choices, "level")
    if len(set(levels)) != len(levels):
        raise ICKDError(f"level={safe_repr(level)} names a level twice.")
    return tuple(levels)
