"""Finding and reading configs."""

import os
import subprocess
import sys

import pytest
from mmengine.config import Config, ConfigDict
from mmengine.config import utils as config_utils

from mmickd.utils.config import find_config, load_config
from mmickd.utils.errors import ICKDError, OptionError


def test_config_by_file_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("model = dict(type='A')\n")
    monkeypatch.chdir(tmp_path)
    assert load_config("mine.py", "o").model.type == "A"
    assert load_config(tmp_path / "mine.py", "o").model.type == "A"
    # Configs of the project are found from any working directory ...
    shipped = "configs/teachers/deeplabv3_r50_camvid.py"
    assert os.path.isfile(find_config(shipped, "o"))
    # ... but files in the working directory come first.
    (tmp_path / "configs" / "teachers").mkdir(parents=True)
    (tmp_path / shipped).write_text("model = dict(type='B')\n")
    assert load_config(shipped, "o").model.type == "B"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config("~/mine.py", "o").model.type == "A"


@pytest.mark.parametrize(
    "base", ["mmickd::_base_/methods/kd.py", "mmseg::_base_/default_runtime.py"]
)
def test_a_config_that_is_found_may_inherit_from_a_package(base, tmp_path, monkeypatch):
    monkeypatch.setattr(config_utils, "MODULE2PACKAGE", {"mmseg": "no-such-distribution"})
    file = tmp_path / "mine.py"
    file.write_text(f"_base_ = ['{base}']\nmodel = dict(type='A')\n")
    cfg = Config.fromfile(find_config(file, "o"))
    assert len(cfg) > 1


def test_config_objects_are_copied():
    cfg = Config(dict(model=dict(type="A", parts=[dict(x=1)])))
    for reference in (
        cfg,
        cfg.to_dict(),
        ConfigDict(cfg.to_dict()),
        dict(type="A", parts=[dict(x=1)]),
    ):
        loaded = load_config(reference, "o")
        assert loaded.model.type == "A"
        loaded.model.parts[0].x = 2
    assert cfg.model.parts[0].x == 1


@pytest.mark.parametrize("reference", [{}, dict(model={}), dict(optimizer=1), Config(dict(a=1))])
def test_config_without_a_model(reference):
    with pytest.raises(ICKDError, match="o has no model"):
        load_config(reference, "o")


@pytest.mark.parametrize("reference", [None, 3, [], b"x", "", "a\0b", object()])
def test_a_value_that_is_no_config(reference):
    with pytest.raises(OptionError, match=r"^o=.*it must be a file, a Config or a dict\.$"):
        load_config(reference, "o")


@pytest.mark.parametrize(
    "reference",
    [{1: 2}, dict(model=3), dict(model=dict(type="A", part=os)), "a" * 5000, "~no-such-user/x.py"],
)
def test_a_config_that_cannot_be_read(reference):
    with pytest.raises(ICKDError, match=r"^o(=| has no model)"):
        load_config(reference, "o")


def test_a_config_file_that_is_broken_or_missing(tmp_path):
    (tmp_path / "bad.py").write_text("model = dict(\n")
    with pytest.raises(ICKDError, match="cannot be read"):
        load_config(str(tmp_path / "bad.py"), "teacher.cfg")
    for missing in ("none.py", str(tmp_path), "", "mmseg::no/such.py"):
        with pytest.raises(ICKDError, match=r"teacher.cfg='.*does not exist"):
            find_config(missing, "teacher.cfg")
    with pytest.raises(ICKDError, match="needs mmnothing, which is not installed"):
        find_config("mmnothing::x.py", "teacher.cfg")


def test_the_config_module_imports_no_model_package():
    """A user of one package does not need the other."""
    code = (
        "import sys, mmickd.utils.config, mmickd.retrieval, mmickd.losses, mmickd.tasks\n"
        "print([m for m in ('mmseg', 'mmpretrain', 'faiss', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
