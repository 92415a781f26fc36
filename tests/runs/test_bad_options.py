"""Invalid options are refused when the hook is built; the message names valid ones."""

from __future__ import annotations

from typing import Any

import pytest

from mmickd.hooks import ICKDHook
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.tiny import build

TEACHER = dict(cfg="teacher.py", checkpoint="teacher.pth")


def losses(term: str, **options: Any) -> dict[str, Any]:
    return dict(losses={term: options})


def weight(**options: Any) -> dict[str, Any]:
    return losses("kd", loss_weight=options)


def online(**options: Any) -> dict[str, Any]:
    return dict(teacher=dict(type="OnlineTeacher", **options))


def self_teacher(**options: Any) -> dict[str, Any]:
    return dict(teacher=dict(type="SelfTeacher", **options))


UNKNOWN = {
    "hook": (dict(levels="image"), ["ICKDHook", "'levels'", "'level'"]),
    "hook, no similar name": (dict(zzz=1), ["ICKDHook", "'zzz'", "teacher, level"]),
    "teacher": (dict(teacher=dict(TEACHER, chekpoint="x")), ["teacher", "'checkpoint'"]),
    "teacher type": (dict(teacher=dict(TEACHER, type="OfflineTeecher")), ["OfflineTeacher"]),
    "teacher dtype": (dict(teacher=dict(TEACHER, dtype="half")), ["teacher.dtype", "fp16"]),
    "bank": (dict(bank=dict(cachedir="x")), ["bank", "'cachedir'", "'cache_dir'"]),
    "losses": (dict(losses=dict(pikd=dict())), ["losses", "'pikd'", "'picd'"]),
    "kd": (losses("kd", temprature=1), ["losses.kd", "'temprature'", "'temperature'"]),
    "picd": (losses("picd", num_positive=1), ["losses.picd", "'num_positives'"]),
    "nicd": (losses("nicd", num_negative=1), ["losses.nicd", "'num_negatives'"]),
    "option of another term": (losses("kd", num_positives=1), ["losses.kd", "'num_positives'"]),
    "schedule": (weight(valeu=1), ["losses.kd.loss_weight", "'valeu'", "'value'"]),
    "checkpoint of peers": (online(checkpoint="x.pth"), ["teacher", "'checkpoint'", "num_peers"]),
    "dtype of peers": (online(dtype="fp16"), ["teacher", "'dtype'", "optim_wrapper"]),
    "momentum of peers": (online(momentum=0.1), ["teacher", "'momentum'", "optim_wrapper"]),
    "trust_checkpoint of peers": (online(trust_checkpoint=True), ["teacher", "'trust_checkpoint'"]),
    "config of SelfTeacher": (self_teacher(cfg="x.py"), ["teacher", "'cfg'", "checkpoint"]),
    "retriever": (dict(retriever=dict(chunks=1)), ["retriever", "'chunks'", "'chunk_size'"]),
    "retriever type": (
        dict(retriever=dict(type="TorchRetreiver")),
        ["retriever.type", "TorchRetriever", "FaissRetriever"],
    ),
}
OUT_OF_RANGE = {
    "level": (dict(level="pixels"), ["level='pixels'", "Did you mean 'pixel'"]),
    "level in a list": (dict(level=["pixel", "image2"]), ["level='image2'", "'image'"]),
    "no level": (dict(level=[]), ["level=[]"]),
    "level is a number": (dict(level=3), ["level=3", "image, pixel, region"]),
    "level twice": (dict(level=["pixel", "pixel"]), ["twice"]),
    "shard is text": (dict(bank=dict(shard="yes")), ["bank.shard='yes'"]),
    "stored query of a sharded bank": (
        dict(query="bank", bank=dict(shard=True)),
        ["query='bank'", "bank.shard=True", "query='view'"],
    ),
    "query": (dict(query="views"), ["query='views'", "'view'"]),
    "layer": (dict(layer=None), ["layer=None", "'auto'"]),
    "anchors": (dict(anchors=0), ["anchors=0", "at least 1"]),
    "anchors, fraction": (dict(anchors=1.5), ["anchors=1.5", "integer"]),
    "exclude_same_id": (dict(exclude_same_id="no"), ["exclude_same_id='no'", "True, False"]),
    "capacity": (dict(bank=dict(capacity_per_class=0)), ["bank.capacity_per_class=0", "or None"]),
    "pixels per image": (dict(bank=dict(pixels_per_image=0)), ["bank.pixels_per_image=0"]),
    "max_images": (dict(bank=dict(max_images=0)), ["bank.max_images=0"]),
    "bank dtype": (dict(bank=dict(dtype="fp8")), ["bank.dtype='fp8'", "fp16, fp32"]),
    "bank seed": (dict(bank=dict(seed=-1)), ["bank.seed=-1"]),
    "bank batch size": (dict(bank=dict(batch_size=0)), ["bank.batch_size=0"]),
    "bank workers": (dict(bank=dict(num_workers=-1)), ["bank.num_workers=-1"]),
    "bank cache_dir": (dict(bank=dict(cache_dir=3)), ["bank.cache_dir=3"]),
    "bank is no dict": (dict(bank="x"), ["bank must be a dict"]),
    "losses is no dict": (dict(losses=1.0), ["losses must be a dict"]),
    "a term is no dict": (dict(losses=dict(kd=1.0)), ["losses.kd must be a dict"]),
    "teacher is no dict": (dict(teacher="teacher.pth"), ["teacher must be a dict"]),
    "negative weight": (losses("picd", loss_weight=-1), ["losses.picd.loss_weight", "at least 0"]),
    "weight is text": (losses("kd", loss_weight="1"), ["losses.kd.loss_weight", "number"]),
    "weight is nan": (
        losses("kd", loss_weight=float("nan")),
        ["losses.kd.loss_weight", "nan", "number of at least 0"],
    ),
    "schedule value": (weight(value=-2), ["losses.kd.loss_weight", "value=-2"]),
    "schedule decay": (weight(decay="step"), ["losses.kd.loss_weight", "decay", "cosine"]),
    "schedule end": (weight(begin=5, end=3), ["losses.kd.loss_weight.end=3", "at least 5"]),
    "schedule end is text": (weight(end="3"), ["losses.kd.loss_weight", "end='3'"]),
    "schedule by_epoch": (weight(by_epoch="yes"), ["losses.kd.loss_weight", "by_epoch='yes'"]),
    "temperature": (losses("kd", temperature=0), ["losses.kd.temperature=0", "positive"]),
    "picd temperature": (losses("picd", temperature=-1), ["losses.picd.temperature=-1"]),
    "sim_temperature": (losses("picd", sim_temperature=0), ["losses.picd.sim_temperature=0"]),
    "infinite temperature": (losses("nicd", temperature=float("inf")), ["losses.nicd.temperature"]),
    "num_positives": (losses("picd", num_positives=0), ["losses.picd.num_positives=0", "or None"]),
    "num_negatives": (losses("nicd", num_negatives=-1), ["losses.nicd.num_negatives=-1"]),
    "all negatives": (losses("nicd", num_negatives=None), ["losses.nicd.num_negatives=None"]),
    "chunk_size": (dict(retriever=dict(chunk_size=0)), ["retriever", "chunk_size", "0"]),
    "chunk_size is text": (dict(retriever=dict(chunk_size="many")), ["retriever", "chunk_size"]),
    "growth": (dict(retriever=dict(type="FaissRetriever", growth=1)), ["retriever", "growth"]),
    "faiss on a GPU": (
        dict(retriever=dict(type="FaissRetriever", gpu=99)),
        ["retriever.gpu=99", "TorchRetriever"],
    ),
    "momentum of 0": (self_teacher(momentum=0), ["teacher.momentum=0", "(0, 1]"]),
    "momentum above 1": (self_teacher(momentum=1.01), ["teacher.momentum=1.01", "(0, 1]"]),
    "negative momentum": (self_teacher(momentum=-0.1), ["teacher.momentum=-0.1", "(0, 1]"]),
    "momentum is nan": (self_teacher(momentum=float("nan")), ["teacher.momentum=nan", "(0, 1]"]),
    "infinite momentum": (self_teacher(momentum=float("inf")), ["teacher.momentum=inf", "(0, 1]"]),
    "momentum is a bool": (self_teacher(momentum=True), ["teacher.momentum=True", "(0, 1]"]),
    "momentum is text": (self_teacher(momentum="0.1"), ["teacher.momentum='0.1'", "(0, 1]"]),
    "warmup is a bool": (self_teacher(warmup=True), ["teacher.warmup=True", "at least 0"]),
    "no peers": (online(num_peers=0), ["teacher.num_peers=0", "at least 1"]),
    "peers are a bool": (online(num_peers=True), ["teacher.num_peers=True", "at least 1"]),
    "no peer in the list": (online(cfg=[]), ["teacher.cfg gives 0 configs"]),
    "num_peers and cfg disagree": (
        online(num_peers=3, cfg=[None]),
        ["teacher.num_peers=3", "1 configs"],
    ),
    "peer of a number": (online(cfg=3), ["teacher.cfg=3", "a file, a Config or a dict"]),
    "peers of numbers": (online(cfg=[None, 3]), ["teacher.cfg=3", "a file, a Config or a dict"]),
    "layer of peers": (online(layer=None), ["teacher.layer=None", "'auto'"]),
    "validate": (online(validate="yes"), ["teacher.validate='yes'", "True, False"]),
    "resume of peers": (online(resume="frsh"), ["teacher.resume='frsh'", "Did you mean 'fresh'"]),
    "optimizer is text": (online(optim_wrapper="SGD"), ["teacher.optim_wrapper='SGD'", "a dict"]),
    "optimizers": (online(optim_wrapper=[dict(type="SGD")]), ["teacher.optim_wrapper=", "a dict"]),
    "empty optimizer": (
        online(optim_wrapper={}),
        ["teacher.optim_wrapper={}", "a dict"],
    ),
    "no optimizer": (online(optim_wrapper=False), ["teacher.optim_wrapper=False", "or None"]),
    "scheduler is text": (online(param_scheduler="x"), ["teacher.param_scheduler='x'", "a list"]),
    "schedulers are text": (
        online(param_scheduler=["x"]),
        ["teacher.param_scheduler='x'", "a dict"],
    ),
    "no teacher": (dict(teacher=None), ["teacher.cfg is not set"]),
    "no teacher config": (dict(teacher=dict(checkpoint="x.pth")), ["teacher.cfg is not set"]),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_an_unknown_option_names_a_similar_one(case: str) -> None:
    options, words = UNKNOWN[case]
    _assert_refused(options, words)


@pytest.mark.parametrize("case", OUT_OF_RANGE)
def test_a_value_out_of_range_names_the_range(case: str) -> None:
    options, words = OUT_OF_RANGE[case]
    _assert_refused(options, words)


def _assert_refused(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ICKDError) as error:
        ICKDHook(**{"teacher": TEACHER, **options})
    for word in words:
        assert word in str(error.value)
    assert len(str(error.value)) < 400


def test_valid_options_are_accepted() -> None:
    ICKDHook(
        teacher=dict(TEACHER, type="mmickd.OfflineTeacher", layer="head.fc", dtype="bf16"),
        level=("pixel", "region"),
        layer="decode_head.conv_seg",
        bank=dict(cache_dir=None, dtype="fp32", capacity_per_class=1, max_images=1, num_workers=0),
        retriever=dict(type="mmickd.FaissRetriever", growth=2),
        losses=dict(
            kd=dict(loss_weight=dict(value=2, begin=1, end=9, warmup=2, decay="cosine")),
            picd=dict(num_positives=None, sim_temperature=float("inf")),
            nicd=None,
        ),
        exclude_same_id=False,
        priority="LOW",
    )


def test_a_config_stops_before_its_run_is_built() -> None:
    cfg = toys.classifier().distilled(losses=dict(kd=dict(temperatur=1)))
    with pytest.raises(ICKDError, match=r"losses\.kd .*'temperatur'"):
        build(cfg)


def test_the_priority_of_the_entry_is_kept() -> None:
    cfg = toys.classifier().distilled(priority="LOW")
    runner = build(cfg)
    assert toys.hook_of(runner).priority == "LOW"
