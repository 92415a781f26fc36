"""Small helpers: options, modules, random state, timing, config references, stack."""

import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.config import utils as config_utils
from torch import nn

from mmickd.utils import config as config_module
from mmickd.utils.config import find_config, load_config
from mmickd.utils.errors import ICKDError
from mmickd.utils.modules import get_module, plain_name
from mmickd.utils.options import (
    check_choice,
    check_dict,
    check_integer,
    check_names,
    check_positive,
    parameters_of,
)
from mmickd.utils.random_state import preserved_random_state
from mmickd.utils.stack import is_installed, repair_scopes
from mmickd.utils.timing import Stopwatch


def test_check_names():
    check_names(["a"], ["a", "b"], "x")
    with pytest.raises(ICKDError, match=r"x has no option 'tempature': did you mean 'temperature'"):
        check_names(["tempature"], ["temperature", "loss_weight"], "x")
    with pytest.raises(ICKDError, match="it takes a, b"):
        check_names(["zzz"], iter(["a", "b"]), "x")
    with pytest.raises(ICKDError, match="no option '3'"):
        check_names([3], ["a"], "x")


def test_check_dict():
    given = ConfigDict(a=1)
    got = check_dict(given, ["a"], "x")
    assert got == {"a": 1} and got is not given
    assert check_dict(None, ["a"], "x") == {}
    for wrong in ([], "a", 3):
        with pytest.raises(ICKDError, match="x must be a dict"):
            check_dict(wrong, ["a"], "x")


@pytest.mark.parametrize("wrong", [0, -1, True, 1.0, "1", None, [1]])
def test_check_integer(wrong):
    check_integer(1, 1, "n")
    check_integer(None, 1, "n", none=True)
    with pytest.raises(ICKDError, match=r"n=.*integer of at least 1"):
        check_integer(wrong, 1, "n")


@pytest.mark.parametrize("wrong", [0, -1.5, True, "1", None, float("nan"), float("inf")])
def test_check_positive(wrong):
    check_positive(1, "t")
    check_positive(0.5, "t")
    check_positive(float("inf"), "t", infinite=True)
    with pytest.raises(ICKDError, match=r"t=.*positive"):
        check_positive(wrong, "t")


def test_check_choice():
    check_choice("a", ("a", None), "c")
    check_choice(None, ("a", None), "c")
    with pytest.raises(
        ICKDError, match=r"c='pixl': it must be one of image, pixel\. Did you mean 'pixel'"
    ):
        check_choice("pixl", ("image", "pixel"), "c")
    with pytest.raises(ICKDError, match="one of image"):
        check_choice([1], ("image",), "c")


def test_parameters_of():
    class Thing:
        def __init__(self, a, b=2):
            pass

    assert parameters_of(Thing) == ["a", "b"]


def test_plain_name_and_get_module():
    assert plain_name("module.decode_head._fsdp_wrapped_module.conv_seg") == "decode_head.conv_seg"
    assert plain_name("head.fc") == "head.fc"
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU()))
    assert get_module(net, "1.0") is net[1][0] and get_module(net, "1") is net[1]
    assert get_module(net, "2") is None and get_module(net, "") is None


def draws():
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_random_state_is_preserved_even_by_an_error():
    def seed():
        random.seed(1), np.random.seed(1), torch.manual_seed(1)

    seed()
    want = [draws(), draws()]
    seed()
    got = [draws()]
    with pytest.raises(RuntimeError), preserved_random_state():
        random.seed(9), np.random.seed(9), torch.manual_seed(9)
        draws()
        raise RuntimeError
    got.append(draws())
    assert got == want


def test_stopwatch_adds_up_and_forgets():
    watch = Stopwatch(torch.device("cpu"))
    assert watch.collect() == 0
    for _ in range(2):
        with watch.timed():
            time.sleep(0.01)
    assert 0.02 <= watch.collect() < 2
    assert watch.collect() == 0


def test_config_by_file_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("model = dict(type='A')\n")
    monkeypatch.chdir(tmp_path)
    assert load_config("mine.py", "o").model.type == "A"
    assert load_config(tmp_path / "mine.py", "o").model.type == "A"
    # Shipped ones are found from any working directory ...
    shipped = "configs/teachers/deeplabv3_r50_camvid.py"
    assert os.path.isfile(find_config(shipped, "o"))
    # ... but what lies in the working directory comes first.
    (tmp_path / "configs" / "teachers").mkdir(parents=True)
    (tmp_path / shipped).write_text("model = dict(type='B')\n")
    assert load_config(shipped, "o").model.type == "B"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config("~/mine.py", "o").model.type == "A"


def test_config_objects_are_copied():
    cfg = Config(dict(model=dict(type="A", parts=[dict(x=1)])))
    for given in (cfg, cfg.to_dict(), ConfigDict(cfg.to_dict()), dict(type="A", parts=[dict(x=1)])):
        loaded = load_config(given, "o")
        assert loaded.model.type == "A"
        loaded.model.parts[0].x = 2
    assert cfg.model.parts[0].x == 1


@pytest.mark.parametrize("given", [{}, dict(model={}), dict(optimizer=1), Config(dict(a=1))])
def test_config_without_a_model(given):
    with pytest.raises(ICKDError, match="o has no model"):
        load_config(given, "o")


def test_config_that_cannot_be_had(tmp_path):
    (tmp_path / "bad.py").write_text("model = dict(\n")
    with pytest.raises(ICKDError, match="cannot be read"):
        load_config(str(tmp_path / "bad.py"), "teacher.cfg")
    for missing in ("none.py", str(tmp_path), "", "mmseg::no/such.py"):
        with pytest.raises(ICKDError, match=r"teacher.cfg='.*does not exist"):
            find_config(missing, "teacher.cfg")
    with pytest.raises(ICKDError, match="needs mmnothing, which is not installed"):
        find_config("mmnothing::x.py", "teacher.cfg")


def test_repairing_the_scopes(monkeypatch):
    scopes = {"mmseg": "no-such-distribution", "mmengine": "no-such", "mmnothing": "mmnothing"}
    monkeypatch.setattr(config_utils, "MODULE2PACKAGE", scopes)
    repair_scopes()
    assert scopes == {"mmseg": "mmseg", "mmengine": "mmengine", "mmnothing": "mmnothing"}
    # A distribution that is there is left alone.
    monkeypatch.setattr(config_utils, "MODULE2PACKAGE", {"torch": "torch", "yaml": "PyYAML"})
    repair_scopes()
    assert config_utils.MODULE2PACKAGE == {"torch": "torch", "yaml": "PyYAML"}
    assert is_installed("torch") and not is_installed("mmnothing")


def test_a_base_of_mmseg_resolves_after_the_repair(tmp_path):
    """In a fresh process: what the repair is for, mmengine's own reading of 'mmseg::'."""
    (tmp_path / "c.py").write_text(
        "_base_ = ['mmseg::fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py']\n"
    )
    code = (
        "import subprocess, sys\n"
        "def refuse(*a, **k): raise SystemExit('installs something')\n"
        "from mmickd.utils.stack import repair_scopes\n"
        "from mmengine.config import Config\n"
        "subprocess.Popen = subprocess.run = subprocess.check_call = refuse\n"
        "repair_scopes()\n"
        f"print(Config.fromfile({str(tmp_path / 'c.py')!r}).model.backbone.depth)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("18"), done.stderr[-500:]


def test_the_config_module_imports_no_model_package():
    """A user of one package does not need the other."""
    code = (
        "import sys, mmickd.utils.config, mmickd.retrieval, mmickd.losses, mmickd.tasks\n"
        "print([m for m in ('mmseg', 'mmpretrain', 'faiss', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    assert config_module.__name__ == "mmickd.utils.config"
