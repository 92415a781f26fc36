"""Print the versions of all packages that a run uses, for bug reports."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import mmickd

# module: (distribution of the onedl fork, distributions of upstream)
_FORKED = {
    "mmengine": ("onedl-mmengine", ("mmengine", "mmengine-lite")),
    "mmcv": ("onedl-mmcv", ("mmcv", "mmcv-lite", "mmcv-full")),
    "mmseg": ("onedl-mmsegmentation", ("mmsegmentation",)),
    "mmpretrain": ("onedl-mmpretrain", ("mmpretrain", "mmcls")),
}
_UPSTREAM_ONLY = {
    "torch": ("torch",),
    "numpy": ("numpy",),
    "safetensors": ("safetensors",),
    "faiss": ("faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11", "faiss-cpu"),
}
_LEFT_OUT = ("PyTorch", "PyTorch compiling details", "MMEngine", "numpy_random_seed")
"""Rows of mmengine's table that are not printed."""


def collect_env() -> dict[str, str]:
    """Return the versions of all packages that a run uses, including mmengine's table.

    Returns:
        Versions by name, in the order of printing. A version includes the name of the distribution,
        since some packages have a onedl and an upstream distribution.
    """
    packages = _packages()
    env = {"mmickd": packages.pop("mmickd")}
    try:
        from mmengine.utils.dl_utils import collect_env as mmengine_env

        env.update({k: str(v) for k, v in mmengine_env().items() if k not in _LEFT_OUT})
    except Exception as error:  # for example if torchvision does not fit torch
        env["stack"] = f"does not import: {type(error).__name__}: {error}"
    return {**env, **packages}


@cache
def software_and_device() -> dict[str, str]:
    """Return the packages and the device that a run's figures depend on, without local paths.

    Example:
        >>> sorted(software_and_device())[:3]
        ['device', 'faiss', 'mmcv']
    """
    import torch

    on_gpu = torch.cuda.is_available()
    capability = torch.backends.cpu.get_cpu_capability()
    device = torch.cuda.get_device_name() if on_gpu else f"CPU, {capability}"
    return {**_packages(), "python": platform.python_version(), "device": device}


def _packages() -> dict[str, str]:
    """Return the versions of the packages, mmickd first."""
    table = {"mmickd": mmickd.__version__ + _git_revision()}
    packages = {module: (fork, *upstream) for module, (fork, upstream) in _FORKED.items()}
    for name, distributions in {**_UPSTREAM_ONLY, **packages}.items():
        versions = ", ".join(f"{_version(d)} ({d})" for d in distributions if _version(d))
        by_path = name in _FORKED and find_spec(name) is not None
        table[name] = versions or ("from a source folder" if by_path else "not installed")
    return table


def conflicts() -> list[str]:
    """Return a sentence for each module that two installed distributions provide.

    If the fork and upstream are both installed, the files of one have overwritten the other's.
    """
    sentences = []
    for module, (fork, upstream) in _FORKED.items():
        both = [name for name in (fork, *upstream) if _version(name)]
        if len(both) > 1:
            sentences.append(
                f"{' and '.join(both)} are both installed and share the module {module}. "
                f"Run `pip uninstall {' '.join(both)}`, then install the one that you want."
            )
    return sentences


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _git_revision() -> str:
    """Return ``' (git 1a2b3c4)'`` in a checkout, else an empty text."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=7"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return f" (git {result.stdout.strip()})" if (root / ".git").exists() else ""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, and a warning for each conflict."""
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    env = collect_env()
    width = max(map(len, env))
    for name, value in env.items():
        print(f"{name:<{width}}  {value}")
    for conflict in conflicts():
        print(f"warning: {conflict}", file=sys.stderr)


if __name__ == "__main__":
    main()
