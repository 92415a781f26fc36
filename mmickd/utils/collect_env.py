"""The version table of the stack, for bug reports."""

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

# module, its distribution in the onedl fork, its distributions upstream
_TWINS = {
    "mmengine": ("onedl-mmengine", ("mmengine", "mmengine-lite")),
    "mmcv": ("onedl-mmcv", ("mmcv", "mmcv-lite", "mmcv-full")),
    "mmseg": ("onedl-mmsegmentation", ("mmsegmentation",)),
    "mmpretrain": ("onedl-mmpretrain", ("mmpretrain", "mmcls")),
}
_OTHERS = {
    "torch": ("torch",),
    "numpy": ("numpy",),
    "safetensors": ("safetensors",),
    "faiss": ("faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11", "faiss-cpu"),
}
_LONG = ("PyTorch", "PyTorch compiling details", "MMEngine", "numpy_random_seed")
"""Of mmengine's table, what is of no use here or stands here already."""


def collect_env() -> dict[str, str]:
    """Versions of everything that takes part in a run: mmengine's table, and ours.

    Returns:
        Name to version, in the order to print. Packages are named with the distribution that they
        came from, since some exist as a onedl and as an upstream one.
    """
    packages = _packages()
    env = {"mmickd": packages.pop("mmickd")}
    try:
        from mmengine.utils.dl_utils import collect_env as of_mmengine

        env.update({k: str(v) for k, v in of_mmengine().items() if k not in _LONG})
    except Exception as error:  # as with a torchvision of another build than torch
        env["stack"] = f"does not import: {type(error).__name__}: {error}"
    return {**env, **packages}


@cache
def software_and_device() -> dict[str, str]:
    """What a run's figures may depend on, in short and without a path: see :func:`collect_env`.

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
    """Versions of the packages, ours first."""
    found = {"mmickd": mmickd.__version__ + _git_revision()}
    packages = {module: (fork, *upstream) for module, (fork, upstream) in _TWINS.items()}
    for name, distributions in {**_OTHERS, **packages}.items():
        versions = ", ".join(f"{_version(d)} ({d})" for d in distributions if _version(d))
        by_path = name in _TWINS and find_spec(name) is not None
        found[name] = versions or ("from a source folder" if by_path else "not installed")
    return found


def conflicts() -> list[str]:
    """Modules that are installed twice, under one name.

    Returns:
        One sentence for each module whose fork and upstream distribution stand side by side: the
        files of one have overwritten the other's.
    """
    found = []
    for module, (fork, upstream) in _TWINS.items():
        both = [name for name in (fork, *upstream) if _version(name)]
        if len(both) > 1:
            found.append(
                f"{' and '.join(both)} are installed side by side and share the module {module}. "
                f"Run `pip uninstall {' '.join(both)}`, then install the one that you want."
            )
    return found


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _git_revision() -> str:
    """``' (git 1a2b3c4)'`` in a checkout, else nothing."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=7"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return f" (git {done.stdout.strip()})" if (root / ".git").exists() else ""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, then what is wrong with it."""
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    env = collect_env()
    width = max(map(len, env))
    for name, value in env.items():
        print(f"{name:<{width}}  {value}")
    for conflict in conflicts():
        print(f"warning: {conflict}", file=sys.stderr)


if __name__ == "__main__":
    main()
