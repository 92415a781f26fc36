"""The options of the hook, checked when the config is read."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mmengine.logging import print_log

from mmickd.banks.building import BankOptions
from mmickd.banks.cache import DEFAULT_LIMIT
from mmickd.losses.terms import LossTerms
from mmickd.registry import RETRIEVERS, TEACHERS
from mmickd.retrieval import BaseRetriever, TorchRetriever
from mmickd.tasks.levels import LEVELS
from mmickd.teachers import BaseTeacher, OnlineTeacher
from mmickd.teachers.base import DTYPES
from mmickd.utils.errors import ICKDError
from mmickd.utils.options import (
    check_choice,
    check_dict,
    check_integer,
    check_positive,
    check_share,
    parameters_of,
)

PIXELS_PER_CLASS = 4096
"""Default capacity of a class at pixel level (19 classes of 512-wide fp16 rows: 76 MiB)."""
QUEUE_ROWS = 128
"""Default capacity of a class in the queue of a teacher that learns."""

FROZEN_ONLY = (
    "cache_dir",
    "cache_limit",
    "dtype",
    "pixels_per_image",
    "max_images",
    "batch_size",
    "num_workers",
)
"""Options of ``bank`` that mean nothing for a queue."""


@dataclass(frozen=True)
class BankSettings:
    """The hook's ``bank``: what :class:`BankOptions` has, and how the bank is read and kept.

    Args:
        cache_dir: where finished banks lie; 'auto': ``$MMICKD_CACHE_DIR`` or ``~/.cache/mmickd``;
            None: nowhere.
        cache_limit: GiB that the banks in ``cache_dir`` may have together, before the least
            recently used ones are removed; None: no limit.
        dtype: 'fp16' or 'fp32'.
        capacity_per_class: rows per class; None: all, but at pixel level
            :data:`PIXELS_PER_CLASS`, and :data:`QUEUE_ROWS` in the queue of a teacher that learns.
        pixels_per_image: most pixels of one class from one image.
        max_images: images to read; None: all.
        seed: of the choice of rows and of anchors.
        pipeline: transforms that read the training images; None: those of validation.
        batch_size: images read at once; None: the training batch size.
        num_workers: processes that read images; None: as many as in training.
        shard: with several ranks, each keeps its part of the rows instead of all of them.
        momentum: of peers that learn together. The rows of a network's queue, and what is asked of
            them, come from its moving average (a momentum encoder, as in MoCo, arXiv 1911.05722),
            which takes this share of it in a step; None: from the network itself.
    """

    cache_dir: str | os.PathLike[str] | None = "auto"
    cache_limit: float | None = DEFAULT_LIMIT
    dtype: str = "fp16"
    capacity_per_class: int | None = None
    pixels_per_image: int = 16
    max_images: int | None = None
    seed: int = 0
    pipeline: Any = None
    batch_size: int | None = None
    num_workers: int | None = None
    shard: bool = False
    momentum: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.cache_dir, (str, os.PathLike, type(None))):
            raise ICKDError(
                f"bank.cache_dir={self.cache_dir!r}: it must be 'auto', the path of a folder, or "
                "None (no cache)."
            )
        if self.cache_limit is not None:
            check_positive(self.cache_limit, "bank.cache_limit")
        check_choice(self.dtype, ("fp16", "fp32"), "bank.dtype")
        check_integer(self.capacity_per_class, 1, "bank.capacity_per_class", none=True)
        check_integer(self.pixels_per_image, 1, "bank.pixels_per_image")
        check_integer(self.max_images, 1, "bank.max_images", none=True)
        check_integer(self.batch_size, 1, "bank.batch_size", none=True)
        check_integer(self.num_workers, 0, "bank.num_workers", none=True)
        check_integer(self.seed, 0, "bank.seed")
        check_choice(self.shard, (True, False), "bank.shard")
        if self.momentum is not None:
            check_share(self.momentum, "bank.momentum")

    def options(self, level: str) -> BankOptions:
        """What decides which rows the bank of one level holds."""
        capacity = self.capacity_per_class
        if capacity is None and level == "pixel":
            capacity = PIXELS_PER_CLASS
        return BankOptions(
            dtype=DTYPES[self.dtype],
            capacity_per_class=capacity,
            pixels_per_image=self.pixels_per_image,
            max_images=self.max_images,
            seed=self.seed,
        )


@dataclass(frozen=True)
class HookOptions:
    """All options of :class:`~mmickd.hooks.ICKDHook`, with what can be built from them alone."""

    teacher: BaseTeacher | OnlineTeacher
    retriever: BaseRetriever
    bank: BankSettings
    levels: tuple[str, ...] | None
    layer: str
    query: str
    anchors: int
    exclude_same_id: bool
    losses: Any = field(default=None)

    @classmethod
    def of(
        cls,
        teacher: Any,
        level: Any,
        layer: str,
        query: str,
        bank: Any,
        anchors: int,
        retriever: Any,
        losses: Any,
        exclude_same_id: bool,
    ) -> HookOptions:
        """Check every option that can be checked without the run.

        Raises:
            ICKDError: with what would be right.
        """
        levels = _levels(level)
        check_choice(query, ("view", "bank"), "query")
        check_integer(anchors, 1, "anchors")
        check_choice(exclude_same_id, (True, False), "exclude_same_id")
        if not isinstance(layer, str):
            raise ICKDError(f"layer={layer!r}: it must be 'auto' or the name of a layer.")
        LossTerms.of(losses, kd_temperature=1.0)
        names = [f.name for f in fields(BankSettings)]
        settings = BankSettings(**check_dict(bank, names, "bank"))
        if settings.shard and query == "bank":
            raise ICKDError(
                "query='bank' looks its rows up in the whole bank, of which a rank has only a part "
                "with bank.shard=True. Use query='view', or bank.shard=False."
            )
        built = _build(TEACHERS, teacher, "OfflineTeacher", "teacher")
        if isinstance(built, OnlineTeacher):
            LossTerms.of(built.losses, 1.0, "teacher.losses")
        elif settings.momentum is not None:
            raise ICKDError(
                "bank.momentum is for the queues of peers (OnlineTeacher); the average of a "
                "SelfTeacher has its own, teacher.momentum."
            )
        if isinstance(built, OnlineTeacher) or not built.is_frozen:
            _warn_of_idle(settings)
        return cls(
            teacher=built,
            retriever=_build(RETRIEVERS, retriever, "TorchRetriever", "retriever"),
            bank=settings,
            levels=levels,
            layer=layer,
            query=query,
            anchors=anchors,
            exclude_same_id=exclude_same_id,
            losses=losses,
        )

    def check_queue(self, terms: LossTerms) -> int:
        """Rows per class of the queues that hold what a learning teacher gave lately.

        Raises:
            ICKDError: if an option needs the frozen bank of a frozen teacher, or the queue is
                shorter than what is to be retrieved from one class of it.
        """
        capacity = self.bank.capacity_per_class or QUEUE_ROWS
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
        if not isinstance(self.retriever, TorchRetriever):
            raise ICKDError(
                f"{type(self.retriever).__name__} searches frozen banks; this teacher learns, and "
                "its queue changes with every step. Use retriever=dict(type='TorchRetriever')."
            )
        wanted = terms.num_positives
        if wanted is not None and capacity < wanted:
            raise ICKDError(
                f"bank.capacity_per_class={capacity} is less than "
                f"losses.picd.num_positives={wanted}: a queue must hold as many rows of a class as "
                "are to be retrieved."
            )
        return capacity

    def resolve_levels(self, offered: tuple[str, ...]) -> tuple[str, ...]:
        """The levels, once the task is known.

        Raises:
            ICKDError: if the task does not offer one, or 'bank' queries cannot be asked at one.
        """
        levels = self.levels or offered[:1]
        for level in levels:
            if level not in offered:
                raise ICKDError(
                    f"level='{level}' does not fit this model, which offers "
                    f"{' and '.join(offered)}: classifiers have images, segmenters pixels and "
                    "regions."
                )
        if self.query == "bank" and "pixel" in levels:
            raise ICKDError(
                "query='bank' needs one bank row per query; an augmented pixel has none. Use "
                "query='view' at pixel level."
            )
        return levels


def _warn_of_idle(bank: BankSettings) -> None:
    """Some options mean nothing for a queue; a config may carry them along."""
    idle = [f.name for f in fields(bank) if f.name in FROZEN_ONLY]
    idle = [name for name in idle if getattr(bank, name) != getattr(BankSettings, name)]
    if idle:
        print_log(
            f"bank.{', bank.'.join(idle)}: for the bank of a frozen teacher. This teacher learns, "
            "and its queue is fed by the steps: without effect here.",
            logger="current",
            level=logging.WARNING,
        )


def _levels(level: Any) -> tuple[str, ...] | None:
    if level is None:
        return None
    levels = [level] if isinstance(level, str) else level
    if not isinstance(levels, (list, tuple)) or not levels:
        raise ICKDError(f"level={level!r}: it must be one of {', '.join(LEVELS)}, or a list.")
    for one in levels:
        check_choice(one, LEVELS, "level")
    if len(set(levels)) != len(levels):
        raise ICKDError(f"level={level!r} names a level twice.")
    return tuple(levels)


def _build(registry: Any, given: Any, default: str, where: str) -> Any:
    """An object of a registry, after a check of its type and the names of its options."""
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise ICKDError(f"{where} must be a dict, got {given!r}.")
    options = dict(given)
    name = str(options.pop("type", default)).removeprefix("mmickd.")
    kind = registry.get(name)
    if kind is None:
        check_choice(name, registry.module_dict, f"{where}.type")
    check_dict(options, parameters_of(kind), where)
    cfg = inspect.signature(kind).parameters.get("cfg")
    if cfg is not None and cfg.default is cfg.empty and "cfg" not in options:
        raise ICKDError(f"{where}.cfg is not set: give the config of the trained {where}.")
    try:
        return kind(**options)
    except ICKDError:
        raise
    except (TypeError, ValueError) as error:
        raise ICKDError(f"{where} cannot be made of {options}: {error}.") from error
