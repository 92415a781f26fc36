"""The version table of the stack: ``python -m mmickd.utils.collect_env``."""

from __future__ import annotations

import importlib
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import mmickd

# module, its distribution in the onedl fork, its distribution upstream
_TWINS = {
    "mmengine": ("onedl-mmengine", ("mmengine", "mmengine-lite")),
    "mmcv": ("onedl-mmcv", ("mmcv", "mmcv-lite", "mmcv-full")),
    "mmseg": ("onedl-mmsegmentation", ("mmsegmentation",)),
    "mmpretrain": ("onedl-mmpretrain", ("mmpretrain", "mmcls")),
}
_DISTRIBUTIONS = {
    "numpy": ("numpy",),
    "safetensors": ("safetensors",),
    "faiss": ("faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11", "faiss-cpu"),
    "opencv": ("opencv-python", "opencv-python-headless"),
}
_ABSENT = "not installed"


def collect_env() -> dict[str, str]:
    """Versions of everything that takes part in a run.

    Returns:
        Name to version, in the order to print. Packages that exist as a onedl and as an upstream
        distribution are named with the distribution that they came from.
    """
    env = {
        "mmickd": mmickd.__version__ + _git_revision(),
        "OS": platform.platform(),
        "Python": platform.python_version(),
    }
    env.update(_torch())
    for module, (fork, upstream) in _TWINS.items():
        env[module] = _describe((fork, *upstream), module)
    env["mmcv ops"] = "compiled" if _has_mmcv_ops() else "none (not needed by mmickd)"
    for name, distributions in _DISTRIBUTIONS.items():
        env[name] = _describe(distributions)
    return env


def conflicts() -> list[str]:
    """What is installed twice under one module name.

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


def _describe(distributions: tuple[str, ...], module: str | None = None) -> str:
    """``'0.10.12 (onedl-mmengine)'``, one such for each distribution that is installed."""
    named = [f"{_version(name)} ({name})" for name in distributions if _version(name)]
    if not named and module is not None and find_spec(module) is not None:
        return "from a source folder, of no distribution"
    return ", ".join(named) or _ABSENT


def _torch() -> dict[str, str]:
    import torch

    env = {"torch": torch.__version__, "torchvision": _try_import("torchvision")}
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        env["CUDA"] = str(torch.version.cuda)
        env["GPUs"] = ", ".join(f"{i}: {name}" for i, name in enumerate(names))
    else:
        env["CUDA"] = f"no device visible (torch is built for CUDA {torch.version.cuda})"
    return env


def _try_import(module: str) -> str:
    """The version of ``module``, or why it does not import (as with a torch of another build)."""
    if find_spec(module) is None:
        return _ABSENT
    try:
        return str(importlib.import_module(module).__version__)
    except Exception as error:
        return f"does not import: {type(error).__name__}: {error}"


def _has_mmcv_ops() -> bool:
    try:
        return find_spec("mmcv._ext") is not None
    except Exception:  # mmcv is missing, or broken enough that its parent does not import
        return False


def _git_revision() -> str:
    """``' (git 1a2b3c4)'`` in a checkout, else nothing."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=7"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return f" (git {done.stdout.strip()})"


def main() -> None:
    """Print the table, then what is wrong with it."""
    env = collect_env()
    width = max(map(len, env))
    for name, value in env.items():
        print(f"{name:<{width}}  {value}")
    for conflict in conflicts():
        print(f"warning: {conflict}", file=sys.stderr)


if __name__ == "__main__":
    main()
