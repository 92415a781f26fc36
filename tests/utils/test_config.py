"""Config references."""

import os
import subprocess
import sys

import pytest
from mmengine.config import Config, ConfigDict

from mmickd.utils.config import find_config, load_config
from mmickd.utils.errors import ICKDError, OptionError


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


@pytest.mark.parametrize("given", [None, 3, [], b"x", "", "a\0b", object()])
def test_what_is_no_config(given):
    with pytest.raises(OptionError, match=r"^o=.*it must be a file, a Config or a dict\.$"):
        load_config(given, "o")


@pytest.mark.parametrize(
    "given",
    [{1: 2}, dict(model=3), dict(model=dict(type="A", part=os)), "a" * 5000, "~nobody/x.py"],
)
def test_a_config_that_cannot_be_read(given):
    with pytest.raises(ICKDError, match=r"^o(=| has no model)"):
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


def test_the_config_module_imports_no_model_package():
    """A user of one package does not need the other."""
    code = (
        "import sys, mmickd.utils.config, mmickd.retrieval, mmickd.losses, mmickd.tasks\n"
        "print([m for m in ('mmseg', 'mmpretrain', 'faiss', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
