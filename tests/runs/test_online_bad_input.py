"""Runs that cannot train with peers, or with a SelfTeacher, stop before the first step."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.config import Config

from mmickd.hooks import ICKDHook
from mmickd.losses.terms import LossTerms
from tests.helpers import toys
from tests.helpers.bad_input import assert_stops
from tests.helpers.learning_runs import learning_config, online_config, wider
from tests.helpers.tiny import run

ONLINE, SELF = dict(type="OnlineTeacher"), dict(type="SelfTeacher")
SGD = dict(type="SGD", lr=0.1)
OPTIM, SCHEDULER = "teacher.optim_wrapper", "teacher.param_scheduler"


def peers(scope: str, level: str, teacher: dict[str, Any]) -> Config:
    """Return a run with peers.

    Args:
        scope: Scope of the student.
        level: Level of the hook.
        teacher: Options of the teacher; 'model' changes the peers' models (``__`` for dots), and
            'cfg' may be a scope for a model of that package.
    """
    teacher = dict(teacher)
    if "model" in teacher:
        cfg = Config(wider(scope))
        changes = teacher.pop("model").items()
        cfg.merge_from_dict({f"model.{k}".replace("__", "."): value for k, value in changes})
        teacher["cfg"] = cfg.to_dict()
    elif teacher.get("cfg") in toys.SCOPES:
        teacher["cfg"] = wider(teacher["cfg"])
    return online_config(scope, level, **teacher)


def model(**changes: Any) -> dict[str, Any]:
    return dict(model=changes)


def optim(**options: Any) -> dict[str, Any]:
    return dict(optim_wrapper=options)


MULTI_LABEL = dict(_delete_=True, type="MultiLabelLinearClsHead", num_classes=3, in_channels=128)
BINARY = dict(decode_head__num_classes=2, decode_head__out_channels=1)
PEERS = {
    "classes": (model(head__num_classes=5), ["3 classes", "peer 0", "num_classes"]),
    "another layer": (dict(layer="backbone.conv1"), ["peer 0", "'head.fc'", "teacher.layer"]),
    "segmenter": (dict(cfg="mmseg"), ["peer 0", "EncoderDecoder"]),
    "multi-label head": (model(head=MULTI_LABEL), ["MultiLabelLinear", "single-label"]),
    "head of another width": (
        model(head__in_channels=7),
        ["peer 0", "16x16", "teacher.cfg"],
    ),
    "unknown model": (model(type="ImageClasifier"), ["teacher.cfg", "ImageClasifier"]),
    "no model": (dict(cfg=dict(a=1)), ["teacher.cfg", "no model"]),
    "no file": (dict(cfg=[None, "no/such.py"]), ["teacher.cfg='no/such.py'"]),
    "no layer": (dict(layer="head.no"), ["'head.no'", "Did you mean"]),
    "no classifier": (dict(layer="backbone"), ["no classifier layer", "Linear or Conv"]),
    "unknown optimizer": (optim(optimizer=dict(type="SGDD", lr=0.1)), [OPTIM, "peer0"]),
    "unknown key of an optimizer": (optim(optimizer=dict(type="SGD", rate=0.1)), [OPTIM, "'rate'"]),
    "unknown key of a wrapper": (optim(optimizer=SGD, clip=1), [OPTIM, "'clip'"]),
    "an optimizer alone": (optim(**SGD), [OPTIM, '"optimizer"']),
    "negative learning rate": (
        optim(optimizer=dict(type="SGD", lr=-1)),
        [OPTIM, "learning rate: -1"],
    ),
    "rate is text": (optim(optimizer=dict(type="SGD", lr="fast")), [OPTIM, "TypeError"]),
    "paramwise": (optim(optimizer=SGD, paramwise_cfg=dict(custom_keys=3)), [OPTIM, "custom_keys"]),
    "unknown key of clip_grad": (
        optim(optimizer=SGD, clip_grad=dict(max_nrm=1)),
        [OPTIM, "'max_nrm'"],
    ),
    "accumulation of 0": (optim(optimizer=SGD, accumulative_counts=0), [OPTIM, "accumulative"]),
    "unknown scheduler": (dict(param_scheduler=dict(type="PollyLR")), [SCHEDULER, "PollyLR"]),
    "unknown key of a scheduler": (
        dict(param_scheduler=dict(type="PolyLR", pow=2)),
        [SCHEDULER, "'pow'"],
    ),
    "scheduler by a metric": (
        dict(param_scheduler=dict(type="ReduceOnPlateauLR", monitor="loss")),
        ["ReduceOnPlateauLR", SCHEDULER],
    ),
    "scheduler of a missing key": (
        dict(optim(optimizer=dict(type="Rprop")), param_scheduler=dict(type="LinearMomentum")),
        [SCHEDULER, "momentum"],
    ),
}


@pytest.mark.parametrize("case", PEERS)
def test_an_invalid_peer_of_a_classifier(case: str) -> None:
    teacher, words = PEERS[case]
    assert_stops(peers("mmpretrain", "image", teacher), *words)


@pytest.mark.parametrize(
    ("teacher", "words"),
    [
        (dict(cfg="mmpretrain"), ["peer 0", "ImageClassifier"]),
        (model(decode_head__num_classes=5), ["peer 0", "num_classes"]),
        (model(**BINARY), ["peer 0: ", "out_channels=1"]),
        (model(decode_head__in_channels=7), ["peer 0", "48x64"]),
    ],
)
def test_an_invalid_peer_of_a_segmenter(teacher: dict[str, Any], words: list[str]) -> None:
    assert_stops(peers("mmseg", "pixel", teacher), *words)


QUEUES = {
    "query": (dict(query="bank"), ["query='bank'", "query='view'"]),
    "faiss": (dict(retriever=dict(type="FaissRetriever")), ["FaissRetriever", "TorchRetriever"]),
    "shard": (dict(bank=dict(shard=True)), ["bank.shard=True", "bank.shard=False"]),
    "positives": (dict(bank=dict(capacity_per_class=15)), ["=15", "num_positives=16"]),
}


@pytest.mark.parametrize("teacher", [ONLINE, SELF], ids=["online", "self"])
@pytest.mark.parametrize("case", QUEUES)
def test_options_of_a_frozen_bank_stop_the_run(case: str, teacher: dict[str, Any]) -> None:
    options, words = QUEUES[case]
    assert_stops(learning_config("mmpretrain", "image", 2, teacher, **options), *words)


def test_options_of_frozen_banks_are_reported_as_unused() -> None:
    """They are no error: a config may keep them when its teacher changes."""
    bank = dict(max_images=3, dtype="fp32", capacity_per_class=20)
    runner = run(learning_config("mmpretrain", "image", 1, ONLINE, bank=bank))
    assert "unused_options" in [finding.code for finding in toys.hook_of(runner).findings]
    assert toys.log_of(runner).count("bank.dtype, bank.max_images:") == 1


def test_a_queue_of_just_enough_rows() -> None:
    assert capacity(bank=dict(capacity_per_class=16)) == 16
    assert capacity(bank=dict(capacity_per_class=11), losses=dict(nicd=None, picd=None)) == 11
    assert capacity(losses=dict(picd=dict(num_positives=None))) == 128


def capacity(**options: Any) -> int:
    """Return the rows per class of the queues by the hook's options."""
    hook = ICKDHook(teacher=ONLINE, **options)
    hook.options.check_queue([LossTerms.build(options.get("losses"))])
    return hook.options.bank.queue_capacity


FULL, GROWING = dict(loss_weight=1.0), dict(loss_weight=dict(value=1.0, warmup=1))


@pytest.mark.parametrize("teacher", [ONLINE, SELF], ids=["online", "self"])
@pytest.mark.parametrize("nicd", [FULL, GROWING], ids=["full", "growing"])
def test_a_full_weight_from_the_first_step_is_a_warning(
    nicd: dict[str, Any], teacher: dict[str, Any]
) -> None:
    losses = dict(kd=GROWING, nicd=nicd)
    log = toys.log_of(run(learning_config("mmpretrain", "image", 1, teacher, losses=losses)))
    assert log.count("losses.nicd.loss_weight: ") == (nicd is FULL)


def test_a_full_weight_of_the_peers_losses_is_a_warning() -> None:
    teacher = dict(ONLINE, losses=dict(nicd=FULL))
    cfg = learning_config("mmpretrain", "image", 1, teacher, losses=dict(nicd=None))
    log = toys.log_of(run(cfg))
    assert log.count("teacher.losses.nicd.loss_weight: ") == 1
    assert " losses.nicd.loss_weight: " not in log
