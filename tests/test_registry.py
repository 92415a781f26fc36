"""Construction of objects from configs, and the messages for wrong configs."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import Registry
from torch import nn

from mmickd.losses import KDLoss, NICDLoss
from mmickd.registry import (
    DATASETS,
    HOOKS,
    LOSSES,
    MODELS,
    RETRIEVERS,
    TASKS,
    TEACHERS,
    build_part,
    registered,
)
from mmickd.utils.errors import ICKDError, OptionError
from mmickd.utils.validation import check_integer

THINGS = Registry("thing")


@THINGS.register_module()
class Checked:
    """Class with a required option, which it validates."""

    def __init__(self, size: int, colour: str = "red") -> None:
        check_integer(size, 1, "size")
        if colour == "blue":
            raise ICKDError("things are never blue.")
        self.size, self.colour = size, colour


@THINGS.register_module()
class Unchecked:
    """Class that validates nothing."""

    def __init__(self, text: Any = "1") -> None:
        self.number = int(text)


def build(cfg: Any, default: str = "Checked", **options: Any) -> Any:
    return build_part(THINGS, cfg, default, "a.thing", **options)


def test_an_object_is_built_from_its_options() -> None:
    cfg = dict(type="Checked", size=3, colour="green")
    thing = build(cfg)
    assert isinstance(thing, Checked) and (thing.size, thing.colour) == (3, "green")
    assert cfg == dict(type="Checked", size=3, colour="green")  # unchanged
    assert build(ConfigDict(type="Unchecked", text="7")).number == 7


def test_a_config_without_type_has_the_default_type() -> None:
    assert build(dict(size=2)).size == 2
    assert isinstance(build(None, default="Unchecked"), Unchecked)
    assert isinstance(build({}, default="Unchecked"), Unchecked)


def test_a_type_is_a_name_a_full_name_or_a_class() -> None:
    for kind in ("KDLoss", "mmickd.KDLoss", KDLoss):
        loss = build_part(LOSSES, dict(type=kind, temperature=2), "NICDLoss", "losses.soft")
        assert type(loss) is KDLoss and loss.temperature == 2


def test_a_constructor_that_takes_any_option_gets_them_all() -> None:
    class Open(Checked):
        def __init__(self, *rest: Any, size: int = 1, **options: Any) -> None:
            super().__init__(size)
            self.rest, self.options = rest, options

    thing = build(dict(type=Open, size=4, depth=2))
    assert (thing.size, thing.rest, thing.options) == (4, (), dict(depth=2))


def test_a_class_need_not_be_registered() -> None:
    class Unregistered(Checked):
        pass

    assert type(build(dict(type=Unregistered, size=1))) is Unregistered
    assert "Unregistered" not in registered(THINGS)


def test_an_unknown_type_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(OptionError) as caught:
        build(dict(type="Cheked", size=1))
    message = str(caught.value)
    assert message.startswith("a.thing.type='Cheked': ") and "Checked, Unchecked" in message
    assert message.endswith("'Checked'?")
    with pytest.raises(OptionError, match=r"^losses\.kd\.type='PICDLos'.*'PICDLoss'\?$"):
        build_part(LOSSES, dict(type="mmickd.PICDLos"), "KDLoss", "losses.kd")


@pytest.mark.parametrize("kind", [None, 3, ["Checked"]])
def test_a_type_of_another_kind_is_unknown(kind: Any) -> None:
    with pytest.raises(OptionError, match=r"^a\.thing\.type=.*Checked, Unchecked"):
        build(dict(type=kind, size=1))


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ICKDError, match=r"^a\.thing .*'color'.*'colour'"):
        build(dict(size=1, color="red"))
    with pytest.raises(ICKDError, match=r"'zzz'.*size, colour"):
        build(dict(zzz=1))


def test_further_option_names_are_suggested_too() -> None:
    with pytest.raises(ICKDError, match=r"'weigth'.*'weight'"):
        build(dict(size=1, weigth=2), extra_names=("weight",))


def test_a_missing_option_is_named() -> None:
    with pytest.raises(ICKDError, match=r"^a\.thing\.size is not set.*Checked"):
        build(dict(colour="red"))
    with pytest.raises(ICKDError, match=r"^teacher\.cfg is not set.*OfflineTeacher"):
        build_part(TEACHERS, None, "OfflineTeacher", "teacher")


def test_a_wrong_value_gets_the_full_name_of_its_option() -> None:
    with pytest.raises(OptionError, match=r"^a\.thing\.size=0") as caught:
        build(dict(size=0))
    assert caught.value.name == "a.thing.size" and caught.value.value == 0


def test_an_error_of_the_class_passes_unchanged() -> None:
    with pytest.raises(ICKDError, match=r"^things are never blue\.$"):
        build(dict(size=1, colour="blue"))


@pytest.mark.parametrize(
    ("text", "words"), [("one", "invalid literal"), ([1], "argument must be a string")]
)
def test_an_error_of_python_is_explained(text: Any, words: str) -> None:
    with pytest.raises(ICKDError, match=r"^a\.thing ") as caught:
        build(dict(type="Unchecked", text=text))
    message = str(caught.value)
    assert repr({"text": text}) in message and words in message
    assert isinstance(caught.value.__cause__, (TypeError, ValueError))


@pytest.mark.parametrize("kind", [KDLoss, int, nn.Linear, Registry])
def test_a_class_with_another_base_is_refused(kind: Any) -> None:
    with pytest.raises(ICKDError, match=rf"^a\.thing\.type: {kind.__name__} .*tests\..*Checked"):
        build_part(THINGS, dict(type=kind, size=1), "Checked", "a.thing", base=Checked)
    assert build_part(THINGS, dict(size=1), "Checked", "a.thing", base=Checked).size == 1


@pytest.mark.parametrize("name", ["json", "this", "\x1b", "a" * 9999])
def test_a_name_without_a_dot_never_imports_anything(name: str) -> None:
    with pytest.raises(OptionError, match=r"^a\.thing\.type=.*Checked, Unchecked"):
        build(dict(type=name, size=1))
    assert "this" not in sys.modules


def test_a_class_is_found_by_the_path_that_mmengine_dumps() -> None:
    assert type(build(dict(type=f"{__name__}.Checked", size=2))) is Checked
    for kind in ("mmickd.losses.KDLoss", "mmickd.losses.kd.KDLoss"):
        assert type(build_part(LOSSES, dict(type=kind), "NICDLoss", "losses.soft")) is KDLoss
    with pytest.raises(ICKDError, match=r"^a\.thing\.type: KDLoss .*tests\..*Checked"):
        build(dict(type="mmickd.losses.KDLoss"), base=Checked)


@pytest.mark.parametrize("path", ["os.system", "os.path", "no_such.Thing", "json.Thing"])
def test_a_path_without_a_class_is_refused(path: str) -> None:
    with pytest.raises(OptionError, match=r"^a\.thing\.type=.*PYTHONPATH.*Checked, Unchecked"):
        build(dict(type=path, size=1))


@pytest.mark.parametrize("path", [".Thing", "."])
def test_a_path_that_cannot_be_imported_is_refused(path: str) -> None:
    with pytest.raises(ICKDError, match=r"^a\.thing\.type='.*' .*ValueError"):
        build(dict(type=path))


def test_other_errors_pass_as_bugs() -> None:
    class Broken:
        def __init__(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build(dict(type=Broken))


@pytest.mark.parametrize("cfg", ["Checked", 3, ["Checked"]])
def test_a_config_that_is_no_dict_is_refused(cfg: Any) -> None:
    with pytest.raises(ICKDError, match=r"^a\.thing .*dict"):
        build(cfg)


def test_classes_are_listed_in_the_order_of_registration() -> None:
    assert list(registered(THINGS)) == ["Checked", "Unchecked"]
    assert {"KDLoss", "NICDLoss", "PICDLoss"} <= registered(LOSSES).keys()
    assert registered(LOSSES)["NICDLoss"] is NICDLoss
    registered(THINGS).clear()  # a copy
    assert build(dict(size=1)).size == 1


@pytest.mark.parametrize("registry", [HOOKS, MODELS, DATASETS])
def test_mmengines_root_registries_find_the_classes(registry: Registry) -> None:
    assert registry.parent.scope == "mmengine"
    name = next(iter(registered(registry)))
    assert registry.parent.get(f"mmickd.{name}") is registered(registry)[name]


@pytest.mark.parametrize("registry", [LOSSES, RETRIEVERS, TASKS, TEACHERS])
def test_each_open_registry_takes_a_users_class(registry: Registry) -> None:
    class Part(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    before = list(registered(registry))
    registry.register_module(name="UserPart", module=Part)
    try:
        assert list(registered(registry)) == [*before, "UserPart"]
    finally:
        registry.module_dict.pop("UserPart")
