"""Options of the hook and how they fit together; single wrong ones are in tests/runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config

from mmickd.banks.options import BankOptions
from mmickd.hooks import ICKDHook
from mmickd.losses import KDLoss, NICDLoss
from mmickd.losses.schedules import WeightSchedule
from mmickd.losses.terms import LossTerms
from mmickd.registry import HOOKS, LOSSES, RETRIEVERS, TEACHERS
from mmickd.retrieval import TorchRetriever
from mmickd.tasks import ClassificationTask, SegmentationTask
from mmickd.teachers import OfflineTeacher, OnlineTeacher, SelfTeacher
from mmickd.training.options import HookOptions
from mmickd.utils.errors import ICKDError, OptionError

OFFLINE = dict(cfg="teacher.py", checkpoint="teacher.pth")
SELF, ONLINE = dict(type="SelfTeacher"), dict(type="OnlineTeacher")
IMAGES, PIXELS = ClassificationTask.levels, SegmentationTask.levels


class FrozenOnly(TorchRetriever):
    """Retriever that does not search queues."""

    searches_queues = False

    def __init__(self, depth: int = 1) -> None:
        super().__init__()
        self.depth = depth


def read(teacher: Any = OFFLINE, **options: Any) -> HookOptions:
    """Return the options of a hook with defaults."""
    return ICKDHook(teacher=teacher, **options).options


def test_defaults_are_a_frozen_teacher_and_torch() -> None:
    options = read()
    assert isinstance(options.teacher, OfflineTeacher) and type(options.retriever) is TorchRetriever
    assert (options.level, options.layer, options.query, options.anchors) == (
        None,
        "auto",
        "view",
        512,
    )
    assert options.exclude_same_id and options.bank.dtype == "fp16" and options.losses is None


def test_parts_are_built_of_their_configs() -> None:
    options = read(
        dict(SELF, momentum=0.5),
        retriever=dict(type=FrozenOnly, depth=3),
        bank=dict(capacity_per_class=9),
        level="pixel",
    )
    assert isinstance(options.teacher, SelfTeacher) and options.teacher.momentum == 0.5
    assert isinstance(options.retriever, FrozenOnly) and options.retriever.depth == 3
    assert options.bank.queue_capacity == 9 and options.level == ("pixel",)


def test_classes_replace_their_names() -> None:
    """mmengine's Python configs have classes as ``type``."""
    options = read(
        dict(OFFLINE, type=OfflineTeacher),
        retriever=dict(type=TorchRetriever, chunk_size=2),
        losses=dict(kd=dict(type=KDLoss, temperature=2), more=dict(type=NICDLoss)),
    )
    assert type(options.teacher) is OfflineTeacher and type(options.retriever) is TorchRetriever
    for wrong in (dict(teacher=dict(type=TorchRetriever)), dict(retriever=dict(type=KDLoss))):
        with pytest.raises(ICKDError, match=r"type: \w+ is no mmickd\.(teachers|retrieval)\."):
            read(**wrong)


@pytest.mark.parametrize("lazy", [False, True])
def test_classes_in_a_config_file(lazy: bool, tmp_path: Path) -> None:
    """Plain Python, and mmengine's lazy import, which has proxies of classes."""
    first = "with read_base():\n    from .base import *" if lazy else "base = 1"
    (tmp_path / "base.py").write_text("base = 1\n")
    (tmp_path / "run.py").write_text(
        "from mmengine.config import read_base\n"
        "from mmickd.hooks import ICKDHook\n"
        "from mmickd.losses import KDLoss\n"
        "from mmickd.teachers import SelfTeacher\n"
        f"{first}\n"
        "teacher = dict(type=SelfTeacher, momentum=0.5)\n"
        "hook = dict(type=ICKDHook, teacher=teacher, losses=dict(soft=dict(type=KDLoss)))\n"
    )
    hook = HOOKS.build(Config.fromfile(tmp_path / "run.py").hook)
    assert type(hook.options.teacher) is SelfTeacher and hook.options.teacher.momentum == 0.5
    assert "soft" in LossTerms.build(hook.options.losses)


@pytest.mark.parametrize("cfg", [None, 3, b"x", ["a"], "", "a\0", 1.5, OfflineTeacher, set()])
def test_a_config_of_a_teacher_is_one(cfg: Any) -> None:
    with pytest.raises(OptionError, match=r"^teacher\.cfg=.*a file, a Config or a dict"):
        read(dict(OFFLINE, cfg=cfg))


def test_losses_are_checked_and_kept() -> None:
    """The defaults of their options depend on the task, which is unknown yet."""
    losses = dict(kd=dict(loss_weight=2))
    assert read(losses=losses).losses is losses
    with pytest.raises(ICKDError, match=r"losses\.kd has no option 'weight'"):
        read(losses=dict(kd=dict(weight=2)))


@pytest.mark.parametrize(
    ("level", "expected"),
    [(None, None), ("pixel", ("pixel",)), (["pixel", "region"], ("pixel", "region"))],
)
def test_levels_are_a_name_or_several(level: Any, expected: Any) -> None:
    assert read(level=level).level == expected


@pytest.mark.parametrize("level", [[], 3, {}, ["pixel", "pixel"], "pixels", ["pixel", None]])
def test_impossible_levels(level: Any) -> None:
    with pytest.raises(ICKDError, match=r"^level="):
        read(level=level)


def test_a_sharded_bank_has_no_stored_queries() -> None:
    with pytest.raises(ICKDError, match=r"query='bank' needs the whole bank"):
        read(query="bank", bank=dict(shard=True))
    assert read(query="bank").query == "bank" and read(bank=dict(shard=True)).bank.shard


def test_an_option_of_the_bank_has_its_full_name() -> None:
    with pytest.raises(OptionError, match=r"^bank\.seed=-1: ") as caught:
        read(bank=dict(seed=-1))
    assert caught.value.name == "bank.seed"


@pytest.mark.parametrize("teacher", [OFFLINE, SELF])
def test_a_momentum_of_queues_is_for_peers(teacher: dict[str, Any]) -> None:
    with pytest.raises(ICKDError, match=r"bank\.momentum is for the queues of peers"):
        read(teacher, bank=dict(momentum=0.1))
    options = read(ONLINE, bank=dict(momentum=0.1))
    assert isinstance(options.teacher, OnlineTeacher) and options.bank.momentum == 0.1


def test_options_without_effect_on_queues_are_reported() -> None:
    options = read(SELF, bank=dict(max_images=3, dtype="fp32", capacity_per_class=20, seed=4))
    (finding,) = options.unused_option_findings()
    assert finding.code == "unused_options"
    assert finding.text.startswith("bank.dtype, bank.max_images:")


@pytest.mark.parametrize(
    "teacher", [OFFLINE, dict(SELF, mode="checkpoint", checkpoint="x.pth")], ids=["offline", "self"]
)
def test_no_option_is_idle_for_a_frozen_teacher(teacher: dict[str, Any]) -> None:
    assert not list(read(teacher, bank=dict(max_images=3, dtype="fp32")).unused_option_findings())
    assert not list(read(SELF).unused_option_findings())


@pytest.mark.parametrize(("limit", "images"), [(None, 8), (20, 8), (5, 5)])
def test_a_sample_has_no_more_images_than_the_bank(limit: int | None, images: int) -> None:
    bank = read(bank=dict(max_images=limit, seed=7)).with_sample(8).bank
    assert (bank.max_images, bank.cache_dir, bank.seed) == (images, None, 7)


@pytest.mark.parametrize(("offered", "first"), [(IMAGES, "image"), (PIXELS, "pixel")])
def test_the_first_level_of_the_task_is_the_default(offered: Any, first: str) -> None:
    assert read().choose_levels(offered) == (first,)


def test_the_task_must_offer_the_levels() -> None:
    assert read(level=["region", "pixel"]).choose_levels(PIXELS) == ("region", "pixel")
    with pytest.raises(ICKDError, match=r"level='pixel' does not fit .* offers image:"):
        read(level="pixel").choose_levels(IMAGES)
    with pytest.raises(ICKDError, match=r"level='image' .* offers pixel and region:"):
        read(level=["pixel", "image"]).choose_levels(PIXELS)


def test_stored_queries_need_a_row_of_their_own() -> None:
    assert read(query="bank").choose_levels(IMAGES) == ("image",)
    assert read(query="bank", level="region").choose_levels(PIXELS) == ("region",)
    with pytest.raises(ICKDError, match=r"an augmented pixel has none.*at pixel level"):
        read(query="bank", level=["region", "pixel"]).choose_levels(PIXELS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(query="bank"), "query='bank' needs a frozen bank"),
        (dict(bank=dict(shard=True)), r"bank\.shard=True shards the bank"),
        (dict(retriever=dict(type=FrozenOnly)), "FrozenOnly searches frozen banks"),
        (
            dict(bank=dict(capacity_per_class=15)),
            r"bank\.capacity_per_class=15 is less than losses\.picd\.num_positives=16",
        ),
    ],
)
def test_options_that_do_not_fit_a_queue(options: dict[str, Any], words: str) -> None:
    hook_options = read(SELF, **options)  # checked only once the terms are known
    with pytest.raises(ICKDError, match=words):
        hook_options.check_queue([LossTerms.build(None)])


def test_a_queue_must_hold_the_positives_of_each_learner() -> None:
    few = LossTerms.build(dict(picd=dict(num_positives=4)))
    many = LossTerms.build(dict(picd=dict(num_positives=9)), where="teacher.losses")
    read(ONLINE, bank=dict(capacity_per_class=9)).check_queue([few, many])
    with pytest.raises(ICKDError, match=r"=8 is less than teacher\.losses\.picd\.num_positives=9"):
        read(ONLINE, bank=dict(capacity_per_class=8)).check_queue([few, many])


@pytest.mark.parametrize(
    "losses", [dict(picd=None), dict(picd=dict(loss_weight=0)), dict(picd=dict(num_positives=None))]
)
def test_a_short_queue_is_enough_without_a_number_of_positives(losses: Any) -> None:
    read(SELF, bank=dict(capacity_per_class=1)).check_queue([LossTerms.build(losses)])


PARTS = (("teacher", TEACHERS), ("retriever", RETRIEVERS), ("losses.x", LOSSES))


def flags(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each option of the package whose default is a bool, and hook options that set it."""
    places = {ICKDHook: "", BankOptions: "bank", WeightSchedule: "losses.kd.loss_weight"}
    places |= {kind: place for place, parts in PARTS for kind in parts.module_dict.values()}
    for kind, place in places.items():
        for name, parameter in inspect.signature(kind).parameters.items():
            if not kind.__module__.startswith("mmickd.") or type(parameter.default) is not bool:
                continue
            options: Any = {name: value}
            if place in dict(PARTS):
                options["type"] = kind.__name__
            if kind is OfflineTeacher:
                options |= OFFLINE
            for key in reversed(place.split(".") if place else []):
                options = {key: options}
            yield name, options


@pytest.mark.parametrize("value", ["no", "False", 0, 1, None, [], np.bool_(True)], ids=repr)
def test_booleans_are_booleans_everywhere(value: Any) -> None:
    options_of_flags = list(flags(value))
    names = {name for name, _ in options_of_flags}
    assert {"trust_checkpoint", "validate", "exclude_same_id", "shard"} <= names
    for name, options in options_of_flags:
        with pytest.raises(ICKDError, match=rf"{name}=.*True"):
            read(**options)
