"""No value of any option, and no damaged state, ends in anything but a plain message.

Hypothesis puts odd values at every place of valid configs: in the hook alone, then in whole lives
of it (teacher, bank, two steps), then in what a resumed checkpoint holds. ``make fault-test`` tries
many more of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mmickd.banks import BankOptions
from mmickd.hooks import ICKDHook
from mmickd.losses import KDLoss, PICDLoss
from mmickd.losses.schedules import WeightSchedule
from mmickd.registry import LOSSES
from mmickd.retrieval import TorchRetriever
from mmickd.teachers import OfflineTeacher, OnlineTeacher, SelfTeacher
from mmickd.utils.errors import ICKDError
from mmickd.utils.validation import parameters_of
from tests.helpers import mutations as valid
from tests.helpers import toys
from tests.helpers.lives import Lives

OFFLINE = valid.offline(dict(model=dict(type="ImageClassifier")), "teacher.pth")
TEACHERS = (OFFLINE, valid.SELF, valid.ONLINE)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (dict(valid.HOOK, teacher=OFFLINE), ICKDHook),
        (OFFLINE, OfflineTeacher),
        (valid.SELF, SelfTeacher),
        (valid.ONLINE, OnlineTeacher),
        (valid.HOOK["retriever"], TorchRetriever),
        (valid.LOSSES["kd"], KDLoss),
        (valid.LOSSES["picd"], PICDLoss),
        *((valid.LOSSES[name], LOSSES.get(valid.LOSSES[name]["type"])) for name in valid.TYPED),
    ],
)
def test_every_option_is_among_those_that_are_changed(given: dict[str, Any], kind: Any) -> None:
    assert set(given) - {"type", "loss_weight"} == set(parameters_of(kind))


def test_every_option_of_bank_and_weights_is_too() -> None:
    assert list(valid.BANK) == [field.name for field in fields(BankOptions)]
    assert [*valid.SCHEDULE, "name"] == [field.name for field in fields(WeightSchedule)]


def tried(examples: int) -> Callable[[Any], Any]:
    """Each run of a test draws the same examples."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # a smaller config says no more, and takes long to find
        suppress_health_check=list(HealthCheck),
    )


def accepts(live: Callable[[], Any]) -> bool:
    """Whether nothing is refused; what is, is refused in words."""
    try:
        live()
    except ICKDError as error:
        valid.check_message(error)
        return False
    return True


def check_hook(data: st.DataObject) -> None:
    base = dict(valid.HOOK, teacher=data.draw(st.sampled_from(TEACHERS)))
    options = data.draw(valid.mutated(base))
    accepts(lambda: ICKDHook(**{str(name): value for name, value in options.items()}))


@tried(100)
@given(st.data())
def test_a_hook_is_made_or_refused(data: st.DataObject) -> None:
    check_hook(data)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@tried(3000)
@given(st.data())
def test_many_hooks_are_made_or_refused(data: st.DataObject) -> None:
    check_hook(data)


@pytest.fixture(scope="module")
def lives() -> Lives:
    return Lives()


def teacher_of(kind: str) -> dict[str, Any]:
    toy = toys.classifier()
    known = dict(offline=valid.offline(toy.teacher_cfg.to_dict(), toy.checkpoint))
    return dict(known, self=valid.SELF, online=valid.ONLINE)[kind]


KINDS = ("offline", "self", "online")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_changed_is_right_before(lives: Lives, kind: str) -> None:
    logged = lives.live(dict(valid.HOOK, teacher=teacher_of(kind)))
    assert logged >= {"loss_kd", "loss_picd", "loss_nicd", "loss_again"}


def check_life(lives: Lives, data: st.DataObject) -> None:
    base = dict(valid.HOOK, teacher=teacher_of(data.draw(st.sampled_from(KINDS))))
    options = data.draw(valid.mutated(base, most=1))
    accepts(lambda: lives.live(options))


@tried(40)
@given(data=st.data())
def test_a_run_takes_two_steps_or_is_refused(lives: Lives, data: st.DataObject) -> None:
    check_life(lives, data)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@tried(1000)
@given(data=st.data())
def test_many_runs_take_two_steps_or_are_refused(lives: Lives, data: st.DataObject) -> None:
    check_life(lives, data)


@pytest.fixture(scope="module", params=["self", "online"])
def resumed(request: Any, lives: Lives) -> Any:
    """A run whose teacher learns, before its next step, and the state of the teacher."""
    bank = dict(valid.BANK, momentum=0.1 if request.param == "online" else None)
    hook = lives.begin(dict(valid.HOOK, bank=bank, teacher=teacher_of(request.param)))
    lives.step(hook)
    yield hook, copy.deepcopy(hook._teacher.state_dict())
    lives.end(hook)


def check_resuming(lives: Lives, resumed: Any, data: st.DataObject) -> None:
    hook, state = resumed
    hook._saved_state = data.draw(valid.mutated({"mmickd": state}, most=1)).get("mmickd")

    def go_on() -> None:
        hook._restore()
        lives.step(hook)

    try:
        accepts(go_on)
    finally:
        hook._teacher.load_state_dict(copy.deepcopy(state))


@tried(20)
@given(data=st.data())
def test_a_damaged_state_is_refused(lives: Lives, resumed: Any, data: st.DataObject) -> None:
    check_resuming(lives, resumed, data)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@tried(1000)
@given(data=st.data())
def test_many_damaged_states_are_refused(lives: Lives, resumed: Any, data: st.DataObject) -> None:
    check_resuming(lives, resumed, data)
