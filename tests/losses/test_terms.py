"""Terms as a config gives them."""

import math

import pytest
import torch

from mmickd.losses import BaseLoss, KDLoss
from mmickd.losses.schedules import TrainProgress
from mmickd.losses.terms import LossTerms
from mmickd.registry import LOSSES
from mmickd.utils.errors import ICKDError


def test_defaults():
    terms = LossTerms.build(None)
    assert terms["kd"].loss.temperature == 4.0
    assert terms["picd"].loss.num_positives == 16 and terms["nicd"].loss.num_negatives == 32
    assert [term.name for term in terms] == ["kd", "picd", "nicd"]
    assert [term.name for term in terms.retrieving] == ["picd", "nicd"]
    assert terms.weights(TrainProgress(0, 10, 10)) == {"kd": 1.0, "picd": 0.3, "nicd": 1.0}


def test_none_switches_a_term_off_and_an_omitted_one_stays():
    terms = LossTerms.build(dict(picd=None, kd=dict(temperature=2)))
    assert "picd" not in terms and "nicd" in terms
    assert terms["kd"].loss.temperature == 2
    assert not LossTerms.build(dict(picd=None, nicd=None)).retrieving
    assert not LossTerms.build(dict(picd=None, nicd=dict(num_negatives=0))).retrieving
    assert not LossTerms.build(dict(picd=None, nicd=dict(loss_weight=0))).retrieving
    assert LossTerms.build(dict(picd=dict(num_positives=None), nicd=None)).retrieving


def test_a_config_overrides_the_defaults_of_a_task():
    defaults = {"KDLoss": {"temperature": 1.0}}
    assert LossTerms.build(None, defaults)["kd"].loss.temperature == 1.0
    assert LossTerms.build(dict(kd=dict(temperature=2)), defaults)["kd"].loss.temperature == 2
    for kind in ("KDLoss", "mmickd.KDLoss", "mmickd.losses.KDLoss", KDLoss):
        terms = LossTerms.build(dict(soft=dict(type=kind)), defaults)
        assert terms["soft"].loss.temperature == 1.0


@pytest.mark.parametrize("defaults", [{}, {"NICDLoss": {"loss_weight": 2.0}}])
def test_a_term_has_the_same_defaults_whether_it_is_named_or_not(defaults):
    omitted = LossTerms.build(None, defaults)
    named = LossTerms.build(dict(kd={}, picd=dict(type="PICDLoss"), nicd={}), defaults)
    assert named.descriptions == omitted.descriptions
    nicd = defaults.get("NICDLoss", {}).get("loss_weight", 1.0)
    assert omitted.weights(TrainProgress(0, 10, 10)) == {"kd": 1.0, "picd": 0.3, "nicd": nicd}


def test_descriptions_have_type_weight_and_options():
    falling = dict(value=4.0, decay="linear")
    losses = dict(
        task=dict(loss_weight="complement"),
        kd=dict(loss_weight=0.5, temperature=2),
        picd=dict(num_positives=None),
        nicd=dict(loss_weight=falling, num_negatives=4),
        votes=dict(type="ContextKDLoss", loss=dict(type="DISTLoss", gamma=0.0)),
    )
    assert LossTerms.build(losses, {"KDLoss": {"dense": False}}).descriptions == {
        "task": "weight 1 minus the weight of kd",
        "kd": "KDLoss, weight 0.5, temperature 2, dense False",
        "picd": "PICDLoss, weight 0.3, temperature 1.0, num_positives all",
        "nicd": "NICDLoss, weight 4, linear decay to 0, temperature 0.5, num_negatives 4",
        "votes": "ContextKDLoss, weight 1, temperature 1.0, num_rows 16, loss DISTLoss",
    }


def test_only_a_number_of_rows_that_is_none_means_all(custom):
    terms = LossTerms.build(dict(users=dict(type=custom, sharpness=None)))
    assert terms["users"].description == "Custom, weight 0.7, sharpness None"


class Custom(BaseLoss):
    """Loss of a user."""

    num_positives = 3
    default_weight = 0.7

    def __init__(self, sharpness=1.0):
        super().__init__()
        self.sharpness = sharpness

    def forward(self, queries):
        return self.sharpness * queries.student_logits.square().sum(-1)


@pytest.fixture
def custom():
    LOSSES.register_module(module=Custom)
    yield "Custom"
    LOSSES.module_dict.pop("Custom")


def test_any_name_takes_any_registered_loss_also_twice(custom):
    terms = LossTerms.build(
        dict(
            extra=dict(type=custom),
            harder=dict(type=Custom, sharpness=2.0, loss_weight=dict(value=1.0, begin=5)),
            kd=dict(type=custom, sharpness=3.0),
            picd=None,
        )
    )
    assert [term.name for term in terms] == ["kd", "nicd", "extra", "harder"]
    assert [term.loss.sharpness for term in terms if isinstance(term.loss, Custom)] == [3, 1, 2]
    assert terms.weights(TrainProgress(0, 10, 10)) == dict(kd=0.7, nicd=1.0, extra=0.7, harder=0.0)
    assert [term.name for term in terms.retrieving] == ["kd", "nicd", "extra", "harder"]


@pytest.mark.parametrize("name", ["my_loss", "a b", "", "2nd", 3, "a" * 65])
def test_names_that_would_spoil_the_log(custom, name):
    with pytest.raises(ICKDError, match="losses has a term"):
        LossTerms.build({name: dict(type=custom)})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(sharpness=1), "'extra': it takes task, kd, picd, nicd"),
        (dict(type="Custum"), r"losses\.extra\.type='Custum'.*Did you mean 'Custom'"),
        (dict(type="Custom", sharpnes=1), r"losses\.extra has no option 'sharpnes'"),
        (
            dict(type=torch.nn.Linear, in_features=1, out_features=1),
            r"losses\.extra\.type: Linear is no mmickd\.losses\.BaseLoss",
        ),
    ],
)
def test_a_config_that_is_no_term(custom, config, message):
    with pytest.raises(ICKDError, match=message):
        LossTerms.build(dict(extra=config))


def test_a_dense_loss_retrieves_nothing_and_a_loss_has_no_parameters(custom, monkeypatch):
    monkeypatch.setattr(Custom, "is_dense", True)
    with pytest.raises(ICKDError, match=r"losses\.extra: Custom has is_dense=True"):
        LossTerms.build(dict(extra=dict(type=custom)))
    monkeypatch.setattr(Custom, "num_positives", 0)
    monkeypatch.setattr(Custom, "parameters", lambda self: iter([torch.nn.Parameter()]))
    with pytest.raises(ICKDError, match=r"losses\.extra: Custom has parameters"):
        LossTerms.build(dict(extra=dict(type=custom)))


def test_weights_follow_their_own_clock():
    terms = LossTerms.build(
        dict(
            kd=dict(loss_weight=dict(value=2.0, warmup=4)),
            picd=dict(loss_weight=dict(value=1.0, begin=1, by_epoch=True)),
            nicd=dict(loss_weight=5),
        )
    )
    assert terms.weights(TrainProgress(2, 40, 4)) == {"kd": 1.0, "picd": 0.0, "nicd": 5}
    assert terms.weights(TrainProgress(8, 40, 4)) == {"kd": 2.0, "picd": 1.0, "nicd": 5}


def test_weight_of_the_task():
    time = TrainProgress(2, 40, 4)

    def weight(task=None, **losses):
        terms = LossTerms.build(dict(losses) if task is None else dict(losses, task=task))
        return terms.task_weight(time, terms.weights(time))

    assert weight() == 1.0
    assert weight(task=dict(loss_weight=0.25)) == 0.25
    assert weight(task=dict(loss_weight=dict(value=1.0, warmup=1, by_epoch=True))) == 0.5
    complement, grows = dict(loss_weight="complement"), dict(value=0.8, warmup=40)
    assert weight(task=complement, kd=dict(loss_weight=0.9)) == pytest.approx(0.1)
    at_anchors = dict(loss_weight=0.9, dense=False)
    assert weight(task=complement, kd=at_anchors) == pytest.approx(0.1)
    assert weight(task=complement, kd=dict(loss_weight=grows)) == pytest.approx(1 - 0.8 * 2 / 40)
    terms = LossTerms.build(dict(task=None))
    assert terms.task_weight(time, {}) == 0.0


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (dict(task=dict(weight=1)), "did you mean 'loss_weight'"),
        (dict(task=dict(loss_weight=-1)), "losses.task.loss_weight"),
        (dict(task=dict(loss_weight="rest")), "losses.task.loss_weight"),
        (dict(task=dict(loss_weight="complement"), kd=None), "losses.kd.loss_weight"),
        (
            dict(task=dict(loss_weight="complement"), kd=dict(loss_weight=1.5)),
            "losses.task.loss_weight='complement'.* losses.kd.loss_weight",
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
        (dict(nicd=dict(loss_weight=dict(decay="cos"))), "losses.nicd.loss_weight.decay='cos'"),
        (dict(nicd=dict(loss_weight=dict(end="late"))), "losses.nicd.loss_weight.end='late'"),
    ],
)
def test_bad_options(losses, message):
    with pytest.raises(ICKDError, match=message.replace("(", r"\(")):
        LossTerms.build(losses)


def test_infinite_similarity_temperature_is_an_option():
    terms = LossTerms.build(dict(picd=dict(sim_temperature=math.inf)))
    assert terms["picd"].loss.sim_temperature == math.inf
