"""Objects as a config describes them, and what is said of one that cannot be."""

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
class Needy:
    """It needs a size, which must be positive."""

    def __init__(self, size: int, colour: str = "red") -> None:
        check_integer(size, 1, "size")
        if colour == "blue":
            raise ICKDError("things are never blue.")
        self.size, self.colour = size, colour


@THINGS.register_module()
class Careless:
    """It looks at nothing."""

    def __init__(self, text: Any = "1") -> None:
        self.number = int(text)


def build(given: Any, default: str = "Needy", **options: Any) -> Any:
    return build_part(THINGS, given, default, "a.thing", **options)


def test_a_part_is_built_of_its_options() -> None:
    given = dict(type="Needy", size=3, colour="green")
    thing = build(given)
    assert isinstance(thing, Needy) and (thing.size, thing.colour) == (3, "green")
    assert given == dict(type="Needy", size=3, colour="green")  # which stay as they were
    assert build(ConfigDict(type="Careless", text="7")).number == 7


def test_the_default_type_stands_in_for_none() -> None:
    assert build(dict(size=2)).size == 2
    assert isinstance(build(None, default="Careless"), Careless)
    assert isinstance(build({}, default="Careless"), Careless)


def test_a_type_by_name_by_full_name_or_as_the_class() -> None:
    for kind in ("KDLoss", "mmickd.KDLoss", KDLoss):
        loss = build_part(LOSSES, dict(type=kind, temperature=2), "NICDLoss", "losses.soft")
        assert type(loss) is KDLoss and loss.temperature == 2


def test_a_constructor_that_takes_any_option_gets_them_all() -> None:
    class Open(Needy):
        def __init__(self, *rest: Any, size: int = 1, **options: Any) -> None:
            super().__init__(size)
            self.rest, self.options = rest, options

    thing = build(dict(type=Open, size=4, depth=2))
    assert (thing.size, thing.rest, thing.options) == (4, (), dict(depth=2))


def test_a_class_need_not_be_registered() -> None:
    class Own(Needy):
        pass

    assert type(build(dict(type=Own, size=1))) is Own
    assert "Own" not in registered(THINGS)


def test_an_unknown_type_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(OptionError) as caught:
        build(dict(type="Nedy", size=1))
    message = str(caught.value)
    assert message.startswith("a.thing.type='Nedy': it must be one of Needy, Careless.")
    assert message.endswith("Did you mean 'Needy'?")
    with pytest.raises(OptionError, match=r"losses\.kd\.type='PICDLos'.*Did you mean 'PICDLoss'"):
        build_part(LOSSES, dict(type="mmickd.PICDLos"), "KDLoss", "losses.kd")


@pytest.mark.parametrize("kind", [None, 3, ["Needy"]])
def test_a_type_of_another_kind_is_unknown(kind: Any) -> None:
    with pytest.raises(OptionError, match=r"^a\.thing\.type=.*it must be one of Needy, Careless"):
        build(dict(type=kind, size=1))


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ICKDError, match=r"^a\.thing has no option 'color': did you mean 'colour'"):
        build(dict(size=1, color="red"))
    with pytest.raises(ICKDError, match="'zzz': it takes size, colour"):
        build(dict(zzz=1))


def test_names_beside_the_options_are_known_too() -> None:
    with pytest.raises(ICKDError, match="'weigth': did you mean 'weight'"):
        build(dict(size=1, weigth=2), beside=("weight",))


def test_an_option_that_is_missing_is_named() -> None:
    with pytest.raises(ICKDError, match=r"^a\.thing\.size is not set: Needy needs it\.$"):
        build(dict(colour="red"))
    with pytest.raises(ICKDError, match=r"^teacher\.cfg is not set: OfflineTeacher needs it\.$"):
        build_part(TEACHERS, None, "OfflineTeacher", "teacher")


def test_a_wrong_value_gets_the_full_name_of_its_option() -> None:
    with pytest.raises(OptionError, match=r"^a\.thing\.size=0: it must be an integer") as caught:
        build(dict(size=0))
    assert caught.value.name == "a.thing.size" and caught.value.value == 0


def test_what_a_part_says_itself_is_left_as_it_is() -> None:
    with pytest.raises(ICKDError, match=r"^things are never blue\.$"):
        build(dict(size=1, colour="blue"))


@pytest.mark.parametrize(
    ("text", "words"), [("one", "invalid literal"), ([1], "argument must be a string")]
)
def test_what_python_says_of_a_value_is_explained(text: Any, words: str) -> None:
    with pytest.raises(ICKDError) as caught:
        build(dict(type="Careless", text=text))
    message = str(caught.value)
    assert message.startswith(f"a.thing cannot be made of {{'text': {text!r}}}: ")
    assert words in message
    assert isinstance(caught.value.__cause__, (TypeError, ValueError))


@pytest.mark.parametrize("kind", [KDLoss, int, nn.Linear, Registry])
def test_a_class_of_another_kind_is_refused(kind: Any) -> None:
    with pytest.raises(
        ICKDError, match=rf"^a\.thing\.type: {kind.__name__} is no tests\..*Needy\."
    ):
        build_part(THINGS, dict(type=kind, size=1), "Needy", "a.thing", base=Needy)
    assert build_part(THINGS, dict(size=1), "Needy", "a.thing", base=Needy).size == 1


@pytest.mark.parametrize("name", ["json", "this", "\x1b", "a" * 9999])
def test_a_name_without_a_dot_never_imports_anything(name: str) -> None:
    with pytest.raises(OptionError, match=r"^a\.thing\.type=.*it must be one of Needy, Careless"):
        build(dict(type=name, size=1))
    assert "this" not in sys.modules


def test_a_class_is_found_where_mmengine_dumps_that_it_is() -> None:
    assert type(build(dict(type=f"{__name__}.Needy", size=2))) is Needy
    for kind in ("mmickd.losses.KDLoss", "mmickd.losses.kd.KDLoss"):
        assert type(build_part(LOSSES, dict(type=kind), "NICDLoss", "losses.soft")) is KDLoss
    with pytest.raises(ICKDError, match=r"^a\.thing\.type: KDLoss is no tests\..*Needy"):
        build(dict(type="mmickd.losses.KDLoss"), base=Needy)


@pytest.mark.parametrize("path", ["os.system", "os.path", "no_such.Thing", "json.Thing"])
def test_a_path_without_a_class_is_refused(path: str) -> None:
    with pytest.raises(
        OptionError, match=r"^a\.thing\.type=.*PYTHONPATH.*Registered are Needy, Careless"
    ):
        build(dict(type=path, size=1))


@pytest.mark.parametrize("path", [".Thing", "."])
def test_a_path_that_cannot_be_imported_is_refused(path: str) -> None:
    with pytest.raises(ICKDError, match=r"^a\.thing\.type='.*' cannot be imported: ValueError"):
        build(dict(type=path))


def test_other_errors_are_bugs_and_not_hidden() -> None:
    class Broken:
        def __init__(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build(dict(type=Broken))


@pytest.mark.parametrize("given", ["Needy", 3, ["Needy"]])
def test_what_is_no_dict_is_refused(given: Any) -> None:
    with pytest.raises(ICKDError, match=r"^a\.thing must be a dict"):
        build(given)


def test_what_is_registered_is_listed_in_its_order() -> None:
    assert list(registered(THINGS)) == ["Needy", "Careless"]
    assert {"KDLoss", "NICDLoss", "PICDLoss"} <= registered(LOSSES).keys()
    assert registered(LOSSES)["NICDLoss"] is NICDLoss
    registered(THINGS).clear()  # a copy
    assert build(dict(size=1)).size == 1


@pytest.mark.parametrize("registry", [HOOKS, MODELS, DATASETS])
def test_what_mmengine_builds_is_found_from_its_root(registry: Registry) -> None:
    assert registry.parent.scope == "mmengine"
    name = next(iter(registered(registry)))
    assert registry.parent.get(f"mmickd.{name}") is registered(registry)[name]


@pytest.mark.parametrize("registry", [LOSSES, RETRIEVERS, TASKS, TEACHERS])
def test_each_open_registry_takes_a_part_of_a_users_own(registry: Registry) -> None:
    class Own(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    before = list(registered(registry))
    registry.register_module(name="OwnPart", module=Own)
    try:
        assert list(registered(registry)) == [*before, "OwnPart"]
    finally:
        registry.module_dict.pop("OwnPart")
