"""The model of another config: its config, and construction in its own scope."""

import copy

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmickd.teachers.models import build_network, model_config, without_initialisation
from mmickd.utils.errors import ICKDError
from tests.helpers.teachers import teacher_configs


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    return teacher_configs(tmp_path_factory.mktemp("models"))


def test_building_leaves_the_config_alone(configs):
    for cfg in configs.values():
        before = copy.deepcopy(cfg.to_dict())
        model = model_config(cfg)
        model["type"] = "changed"
        model["backbone"]["depth"] = 99
        assert cfg.to_dict() == before


def test_the_config_of_the_model(configs):
    model = model_config(configs["mmpretrain"])
    assert "train_cfg" not in model and model["data_preprocessor"]["mean"] == [120, 110, 100]
    model = without_initialisation(model_config(configs["mmseg"]))
    assert model["pretrained"] is None and "train_cfg" in model
    cfg = Config(
        dict(
            model=dict(
                type="X", init_cfg=dict(type="Pretrained"), data_preprocessor=dict(type="inner"),
                backbone=dict(init_cfg=dict(type="Pretrained")), decode_head=[dict(init_cfg=1)],
            ),
            data_preprocessor=dict(type="outer"),
        )
    )  # fmt: skip
    model = without_initialisation(model_config(cfg))
    assert "init_cfg" not in str(model)
    assert model["data_preprocessor"] == dict(type="inner")


def test_leaving_out_the_initialisation_changes_a_copy():
    model = dict(type="X", pretrained="x.pth", backbone=dict(init_cfg=1), head=[dict(init_cfg=1)])
    before = copy.deepcopy(model)
    assert without_initialisation(model) == dict(type="X", pretrained=None, backbone={}, head=[{}])
    assert model == before


@pytest.mark.parametrize(
    ("scope", "other"), [("mmpretrain", "mmseg"), ("mmseg", "mmpretrain")], ids=["cls", "seg"]
)
@pytest.mark.parametrize("origin", ["config", "reference", "run"])
def test_a_network_is_built_in_its_own_scope(configs, scope, other, origin):
    """Both packages have a ResNet: config, reference or run, in this order, name the package."""
    cfg = copy.deepcopy(configs[scope])
    if origin != "config":
        cfg.pop("default_scope")
    if scope == "mmseg":
        cfg.model.backbone.norm_cfg.type = "BN"
    reference = f"{scope}::x.py" if origin == "reference" else "x.py"
    model = without_initialisation(model_config(cfg))
    with DefaultScope.overwrite_default_scope(scope if origin == "run" else other):
        network = build_network(model, cfg, reference)
    for module in (network, network.backbone, network.data_preprocessor):
        assert type(module).__module__.startswith(f"{scope}.")


def test_the_scope_of_the_run_stays(configs):
    cfg = configs["mmpretrain"]
    with DefaultScope.overwrite_default_scope("mmseg"):
        build_network(model_config(cfg), cfg, None)
        with pytest.raises(ICKDError):
            build_network(dict(type="NoSuchNet"), cfg, None)
        assert DefaultScope.get_current_instance().scope_name == "mmseg"


@pytest.mark.parametrize("kind", [int, "Conv2d", "LinearClsHead"])
def test_other_objects_than_models_are_refused(configs, kind):
    cfg = configs["mmpretrain"]
    options = dict(Conv2d=dict(in_channels=1, out_channels=1, kernel_size=1))
    options["LinearClsHead"] = dict(num_classes=2, in_channels=2)
    with pytest.raises(ICKDError, match=r"^teacher\.cfg .*no BaseModel"):
        build_network(dict(options.get(kind, {}), type=kind), cfg, None)


def test_a_model_that_cannot_be_built(configs):
    cfg = configs["mmpretrain"]
    with pytest.raises(ICKDError, match=r"^teacher\.cfg cannot be built \(KeyError: .*NoSuchNet"):
        build_network(dict(type="NoSuchNet"), cfg, None)
    with pytest.raises(ICKDError, match=r"cannot be built \(.*unexpected.*'colour'"):
        build_network(dict(model_config(cfg), colour="red"), cfg, None)
