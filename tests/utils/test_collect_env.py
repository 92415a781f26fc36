"""The version table for bug reports."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import torch

import mmickd
from mmickd.utils import collect_env


def test_table_names_versions_and_distributions():
    env = collect_env.collect_env()
    assert env["mmickd"].startswith(mmickd.__version__)
    assert env["torch"].startswith(torch.__version__.partition("+")[0])
    for module in ("mmengine", "mmcv", "mmseg", "mmpretrain"):
        assert module in env[module], "the distribution is part of the entry"
    assert env["safetensors"] != "not installed"


def test_runs_as_a_module():
    command = [sys.executable, "-m", "mmickd.utils.collect_env"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    version = torch.__version__.partition("+")[0]
    assert "mmengine" in done.stdout and version in done.stdout


def fake_versions(monkeypatch, installed):
    def version(name):
        if name in installed:
            return installed[name]
        raise PackageNotFoundError(name)

    monkeypatch.setattr(collect_env, "version", version)


def test_fork_and_upstream_side_by_side_are_reported(monkeypatch, capsys):
    fake_versions(monkeypatch, {"onedl-mmcv": "2.3.6", "mmcv-lite": "2.1.0", "mmengine": "0.10.7"})
    assert len(collect_env.conflicts()) == 1
    assert "onedl-mmcv and mmcv-lite" in collect_env.conflicts()[0]
    collect_env.main([])
    out, err = capsys.readouterr()
    assert "2.3.6 (onedl-mmcv), 2.1.0 (mmcv-lite)" in out
    assert "pip uninstall onedl-mmcv mmcv-lite" in err


def test_one_of_each_is_no_conflict(monkeypatch):
    fake_versions(monkeypatch, {"onedl-mmcv": "2.3.6", "mmengine": "0.10.7"})
    assert collect_env.conflicts() == []
    assert collect_env.collect_env()["faiss"] == "not installed"
