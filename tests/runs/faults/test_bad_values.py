"""An odd value of an option, or in a checkpoint, is accepted or ends in an ICKDError.

Hypothesis puts odd values at every place of valid configs: in the hook alone, in short trainings
(teacher, bank, two steps) and in the state of a resumed checkpoint. ``make fault-test`` tries many
more of them.
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
from tests.runs.faults.hook_runs import HookRuns

OFFLINE = valid.offline(dict(model=dict(type="ImageClassifier")), "teacher.pth")
TEACHERS = (OFFLINE, valid.SELF, valid.ONLINE)


@pytest.mark.parametrize(
    ("options", "kind"),
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
def test_every_option_is_mutated(options: dict[str, Any], kind: Any) -> None:
    assert set(options) - {"type", "loss_weight"} == set(parameters_of(kind))


def test_every_option_of_bank_and_weights_is_mutated() -> None:
    assert list(valid.BANK) == [field.name for field in fields(BankOptions)]
    assert [*valid.SCHEDULE, "name"] == [field.name for field in fields(WeightSchedule)]


def examples(count: int) -> Callable[[Any], Any]:
    """Return settings with which a test always draws the same examples."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # shrinking takes long and shows no more
        suppress_health_check=list(HealthCheck),
    )


def accepts(action: Callable[[], Any]) -> bool:
    """True if an action succeeds; any error must be a readable ICKDError."""
    try:
        action()
    except ICKDError as error:
        valid.check_message(error)
        return False
    return True


def check_hook(data: st.DataObject) -> None:
    base = dict(valid.HOOK, teacher=data.draw(st.sampled_from(TEACHERS)))
    options = data.draw(valid.mutated(base))
    accepts(lambda: ICKDHook(**{str(name): value for name, value in options.items()}))


@examples(100)
@given(st.data())
def test_a_hook_is_built_or_refused(data: st.DataObject) -> None:
    check_hook(data)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@examples(3000)
@given(st.data())
def test_many_hooks_are_built_or_refused(data: st.DataObject) -> None:
    check_hook(data)


@pytest.fixture(scope="module")
def hook_runs() -> HookRuns:
    return HookRuns()


def teacher_of(kind: str) -> dict[str, Any]:
    toy = toys.classifier()
    offline = valid.offline(toy.teacher_cfg.to_dict(), toy.checkpoint)
    return dict(offline=offline, self=valid.SELF, online=valid.ONLINE)[kind]


KINDS = ("offline", "self", "online")


@pytest.mark.parametrize("kind", KINDS)
def test_the_options_are_valid_before_they_are_mutated(hook_runs: HookRuns, kind: str) -> None:
    logged = hook_runs.train(dict(valid.HOOK, teacher=teacher_of(kind)))
    assert logged >= {"loss_kd", "loss_picd", "loss_nicd", "loss_again"}


def check_training(hook_runs: HookRuns, data: st.DataObject) -> None:
    base = dict(valid.HOOK, teacher=teacher_of(data.draw(st.sampled_from(KINDS))))
    options = data.draw(valid.mutated(base, most=1))
    accepts(lambda: hook_runs.train(options))


@examples(40)
@given(data=st.data())
def test_a_run_trains_two_steps_or_is_refused(hook_runs: HookRuns, data: st.DataObject) -> None:
    check_training(hook_runs, data)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@examples(1000)
@given(data=st.data())
def test_many_runs_train_two_steps_or_are_refused(hook_runs: HookRuns, data: st.DataObject) -> None:
    check_training(hook_runs, data)


@pytest.fixture(scope="module", params=["self", "online"])
def resumed(request: Any, hook_runs: HookRuns) -> Any:
    """Return a hook between two steps, whose teacher learns, and the state of that teacher."""
    bank = dict(valid.BANK, momentum=0.1 if request.param == "online" else None)
    hook = hook_runs.begin(dict(valid.HOOK, bank=bank, teacher=teacher_of(request.param)))
    hook_runs.step(hook)
    yield hook, copy.deepcopy(hook._teacher.state_dict())
    hook_runs.end(hook)


def check_resuming(hook_runs: HookRuns, resumed: Any, data: st.DataObject) -> None:
    hook, state = resumed
    hook._saved_state = data.draw(valid.mutated({"mmickd": state}, most=1)).get("mmickd")

    def resume() -> None:
        hook._restore()
        hook_runs.step(hook)

    try:
        accepts(resume)
    finally:
        hook._teacher.load_state_dict(copy.deepcopy(state))


@examples(20)
@given(data=st.data())
def test_a_damaged_state_is_refused(hook_runs: HookRuns, resumed: Any, data: st.DataObject) -> None:
    check_resuming(hook_runs, resumed, data)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@examples(1000)
@given(data=st.data())
def test_many_damaged_states_are_refused(
    hook_runs: HookRuns, resumed: Any, data: st.DataObject
) -> None:
    check_resuming(hook_runs, resumed, data)
