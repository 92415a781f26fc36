"""References to the packages of the stack."""

import subprocess
import sys

from mmengine.config import utils as config_utils

from mmickd.utils.packages import is_installed, repair_scopes


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
        "from mmickd.utils.packages import repair_scopes\n"
        "from mmengine.config import Config\n"
        "subprocess.Popen = subprocess.run = subprocess.check_call = refuse\n"
        "repair_scopes()\n"
        f"print(Config.fromfile({str(tmp_path / 'c.py')!r}).model.backbone.depth)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("18"), done.stderr[-500:]
