"""Workarounds for mmengine's scopes and yapf's cache."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mmengine.config import utils as config_utils

from mmickd.utils.packages import is_installed, repair_scopes


def test_repairing_the_scopes(monkeypatch):
    scopes = {"mmseg": "no-such-distribution", "mmengine": "no-such", "mmnothing": "mmnothing"}
    monkeypatch.setattr(config_utils, "MODULE2PACKAGE", scopes)
    repair_scopes()
    assert scopes.pop("mmickd") == "mmickd"
    assert scopes == {"mmseg": "mmseg", "mmengine": "mmengine", "mmnothing": "mmnothing"}
    # An installed distribution stays.
    monkeypatch.setattr(config_utils, "MODULE2PACKAGE", {"torch": "torch", "yaml": "PyYAML"})
    repair_scopes()
    scopes = {"torch": "torch", "yaml": "PyYAML", "mmickd": "mmickd"}
    assert scopes == config_utils.MODULE2PACKAGE
    assert is_installed("torch") and not is_installed("mmnothing")


def test_a_base_of_mmseg_resolves_after_the_repair(tmp_path):
    """mmengine itself resolves 'mmseg::', in a new process."""
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


@contextmanager
def incomplete_cache(cache: Path, left: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Start a process that imports yapf while one of its grammars is half written.

    The grammar is completed at the end of the block.
    """
    env = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    subprocess.run([sys.executable, "-c", "import yapf.yapflib.yapf_api"], env=env, check=True)
    (grammar,) = cache.glob("YAPF/*/PatternGrammar*")
    whole = grammar.read_bytes()
    grammar.write_bytes(whole[:left])
    code = (
        "from mmickd.utils.packages import import_yapf\n"
        "print('begins', flush=True)\n"
        f"import_yapf({seconds})\n"
        "from yapf.yapflib.yapf_api import FormatCode\n"
        "print(FormatCode('a  =  1')[0])\n"
    )
    pipe = subprocess.PIPE
    yield subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=pipe, stderr=pipe, text=True
    )
    grammar.write_bytes(whole)


@pytest.mark.parametrize("left", [0, 1000])
def test_an_incomplete_cache_of_yapf_is_waited_for(tmp_path, left):
    with incomplete_cache(tmp_path, left, seconds=60.0) as process:
        assert process.stdout.readline() == "begins\n"
        time.sleep(1.0)
    out, err = process.communicate(timeout=60)
    assert out == "a = 1\n\n", err


def test_a_cache_of_yapf_that_stays_incomplete_is_reported(tmp_path):
    with incomplete_cache(tmp_path, 0, seconds=0.2) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode and "ICKDError" in err and "/.cache/YAPF" in err
