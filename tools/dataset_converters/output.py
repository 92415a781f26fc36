"""Common functions of the converters: atomic output folders, progress, options."""

from __future__ import annotations

import argparse
import inspect
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


@contextmanager
def staged_folder(target: Path, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``target`` when the block succeeds.

    Args:
        target: The final folder. It must be missing or empty, unless ``replace``.
        replace: True to replace an existing folder.

    Raises:
        SystemExit: If ``target`` has content and ``replace`` is False.
    """
    if not replace and target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise SystemExit(f"{target} exists already; remove it or name another output folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        stage.chmod(0o755)  # mkdtemp makes it private to its owner, but a data set is shared
        yield stage
        if replace:
            shutil.rmtree(target, ignore_errors=True)
        stage.replace(target)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise


@contextmanager
def manifest_folder(out: Path, params: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield a temporary folder that replaces ``out`` when the block succeeds, and its manifest.

    Args:
        out: The final folder; a folder of an earlier call is replaced.
        params: JSON-serialisable parameters, stored in the manifest. The block may add entries.

    Raises:
        FileExistsError: If ``out`` has content but no manifest: a converter did not write it.
    """
    if out.exists() and any(out.iterdir()) and read_manifest(out) is None:
        raise FileExistsError(
            f"{out} exists and was not written by this converter (no {MANIFEST}). "
            "Choose another --out, or remove it yourself."
        )
    manifest: dict[str, Any] = dict(params=params)
    with staged_folder(out, replace=True) as partial:
        yield partial, manifest
        (partial / MANIFEST).write_text(json.dumps(manifest))


def read_manifest(out: Path) -> dict[str, Any] | None:
    """Return the manifest of a complete folder; None without a manifest."""
    try:
        return json.loads((out / MANIFEST).read_text())
    except (OSError, ValueError):
        return None


def is_complete(out: Path, params: dict[str, Any]) -> bool:
    """True if ``out`` was written completely with exactly these parameters."""
    return (read_manifest(out) or {}).get("params") == params


def existing(path: Path, hint: str) -> Path:
    """Return ``path`` if it exists.

    Args:
        path: File or folder of the input.
        hint: Advice if it is missing.

    Raises:
        SystemExit: If it does not exist.
    """
    if not path.exists():
        raise SystemExit(f"{path} does not exist. {hint}")
    return path


def report(done: int, total: int, items: str, every: int = 1) -> None:
    """Print the progress after each ``every`` items, and at the end."""
    if done % every == 0 or done == total:
        print(f"{done}/{total} {items}", flush=True)


def print_state(out: Path, is_new: bool) -> None:
    """Print that a folder is ready (``is_new``), or that it was complete already."""
    print(f"{out} is {'ready' if is_new else 'complete already, nothing to do'}.")


def run_with_options(
    make: Callable[..., bool],
    options: Mapping[str, str],
    description: str,
    argv: Sequence[str] | None,
) -> None:
    """Call ``make`` with the options of the command line, and print the state of its folder.

    Args:
        make: Function whose first argument is the folder to make; its other arguments are the
            options, and their defaults are the options' types and defaults.
        options: Help text of each option.
        description: Description of the command.
        argv: Command line; None: that of the process.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    for name, text in options.items():
        default = inspect.signature(make).parameters[name].default
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), default=default, help=text)
    args = parser.parse_args(argv)
    print_state(args.out, make(**vars(args)))
