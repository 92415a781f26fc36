"""The environment in which runs are started."""

from __future__ import annotations

from pathlib import Path

TOOLS = Path(__file__).resolve().parents[1]


def environment() -> dict[str, str]:
    """One thread per run, and the modules of this checkout where it is one."""
    paths = [str(TOOLS)]
    if (TOOLS.parent / "mmickd" / "__init__.py").is_file():
        paths.append(str(TOOLS.parent))
    return dict(
        OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", PYTHONPATH=":".join(paths), MPLBACKEND="Agg"
    )
