"""The three terms as a config gives them, and the examples in the docstrings."""

import doctest
import importlib
import math

import pytest
import torch

from mmickd.losses.joining import join_losses
from mmickd.losses.terms import LossTerms
from mmickd.registry import MODELS
from mmickd.schedules import RunTime
from mmickd.utils.errors import ICKDError


@pytest.mark.parametrize("name", ["losses.kd", "losses.picd", "losses.nicd", "utils.modules"])
def test_doctests(name):
    result = doctest.testmod(importlib.import_module(f"mmickd.{name}"))
    assert result.failed == 0
    if name in ("losses.kd", "utils.modules"):
        assert result.attempted > 0


def test_defaults():
    terms = LossTerms.of(None, kd_temperature=4.0)
    assert terms.modules["kd"].temperature == 4.0
    assert (terms.num_positives, terms.num_negatives) == (16, 32)
    assert terms.needs_bank
    assert terms.weights(RunTime(0, 10, 10)) == {"kd": 1.0, "picd": 0.3, "nicd": 1.0}


def test_none_switches_a_term_off_and_an_omitted_one_stays():
    terms = LossTerms.of(dict(picd=None, kd=dict(temperature=2)), kd_temperature=1.0)
    assert "picd" not in terms and "nicd" in terms
    assert terms.num_positives == 0 and terms.needs_bank
    assert terms.modules["kd"].temperature == 2
    assert not LossTerms.of(dict(picd=None, nicd=None), 1.0).needs_bank
    assert not LossTerms.of(dict(picd=None, nicd=dict(num_negatives=0)), 1.0).needs_bank
    assert LossTerms.of(dict(picd=dict(num_positives=None), nicd=None), 1.0).needs_bank


def test_weights_follow_their_own_clock():
    terms = LossTerms.of(
        dict(
            kd=dict(loss_weight=dict(value=2.0, warmup=4)),
            picd=dict(loss_weight=dict(value=1.0, begin=1, by_epoch=True)),
            nicd=dict(loss_weight=5),
        ),
        4.0,
    )
    assert terms.weights(RunTime(2, 40, 4)) == {"kd": 1.0, "picd": 0.0, "nicd": 5}
    assert terms.weights(RunTime(8, 40, 4)) == {"kd": 2.0, "picd": 1.0, "nicd": 5}


def test_weight_of_the_task():
    time = RunTime(2, 40, 4)

    def weight(task=None, **losses):
        terms = LossTerms.of(dict(losses) if task is None else dict(losses, task=task), 4.0)
        return terms.task_weight(time, terms.weights(time))

    assert weight() == 1.0
    assert weight(task=dict(loss_weight=0.25)) == 0.25
    assert weight(task=dict(loss_weight=dict(value=1.0, warmup=1, by_epoch=True))) == 0.5
    assert weight(task=dict(loss_weight="complement"), kd=dict(loss_weight=0.9)) == pytest.approx(
        0.1
    )
    grows = dict(value=0.8, warmup=40)
    assert weight(task=dict(loss_weight="complement"), kd=dict(loss_weight=grows)) == pytest.approx(
        1 - 0.8 * 2 / 40
    )
    terms = LossTerms.of(dict(task=None), 4.0)
    assert terms.task_weight(time, {}) == 0.0


def test_the_task_keeps_its_losses_bit_for_bit_and_other_weights_scale_losses_only():
    head = torch.tensor(1.25)
    found = dict(loss=head, acc=torch.tensor(50.0))
    joined = join_losses(found, {})
    assert joined["loss_ce"] is head and "loss" not in joined
    several = {"decode.loss_ce": [torch.tensor(1.0), torch.tensor(2.0)], "decode.acc_seg": head}
    scaled = join_losses(several, {"loss_kd": torch.tensor(3.0)}, 0.5)
    assert [float(x) for x in scaled["decode.loss_ce"]] == [0.5, 1.0]
    assert scaled["decode.acc_seg"] is head and float(scaled["loss_kd"]) == 3.0


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (dict(task=dict(weight=1)), "did you mean 'loss_weight'"),
        (dict(task=dict(loss_weight=-1)), "losses.task.loss_weight"),
        (dict(task=dict(loss_weight="rest")), "losses.task.loss_weight"),
        (dict(task=dict(loss_weight="complement"), kd=None), "losses.kd.loss_weight"),
        (
            dict(task=dict(loss_weight="complement"), kd=dict(loss_weight=1.5)),
            "never be more than 1",
        ),
        (dict(kd=dict(divergence="both")), "losses.kd.divergence='both'"),
        (dict(kd=dict(emphasis=0.5)), "losses.kd.emphasis=0.5"),
        (dict(kd=dict(loss_weight=dict(stepwise=1))), "stepwise=1"),
        (dict(nidc=dict()), "did you mean 'nicd'"),
        (dict(kd=dict(temprature=1)), "did you mean 'temperature'"),
        (dict(kd=3), "losses.kd must be a dict"),
        (3, "losses must be a dict"),
        (dict(kd=dict(temperature=0)), "losses.kd.temperature=0"),
        (dict(kd=dict(temperature="4")), "losses.kd.temperature='4'"),
        (dict(nicd=dict(temperature=math.inf)), "losses.nicd.temperature"),
        (dict(picd=dict(sim_temperature=-1)), "losses.picd.sim_temperature=-1"),
        (dict(picd=dict(sim_temperature=math.nan)), "losses.picd.sim_temperature"),
        (dict(picd=dict(num_positives=0)), "losses.picd.num_positives=0"),
        (dict(picd=dict(num_positives=1.5)), "losses.picd.num_positives=1.5"),
        (dict(nicd=dict(num_negatives=-1)), "losses.nicd.num_negatives=-1"),
        (dict(nicd=dict(num_negatives=None)), "losses.nicd.num_negatives"),
        (dict(nicd=dict(loss_weight=-1)), "losses.nicd.loss_weight"),
        (dict(nicd=dict(loss_weight="big")), "losses.nicd.loss_weight"),
        (dict(nicd=dict(loss_weight=dict(warm=1))), "did you mean 'warmup'"),
        (dict(nicd=dict(loss_weight=dict(decay="cos"))), "losses.nicd.loss_weight: decay='cos'"),
        (dict(nicd=dict(loss_weight=dict(end="late"))), "losses.nicd.loss_weight: end='late'"),
    ],
)
def test_bad_options(losses, message):
    with pytest.raises(ICKDError, match=message.replace("(", r"\(")):
        LossTerms.of(losses, 4.0)


def test_infinite_similarity_temperature_is_an_option():
    terms = LossTerms.of(dict(picd=dict(sim_temperature=math.inf)), 4.0)
    assert terms.modules["picd"].sim_temperature == math.inf


def test_registered():
    for name in ("KDLoss", "PICDLoss", "NICDLoss"):
        assert MODELS.build(dict(type=name)).__class__.__name__ == name
