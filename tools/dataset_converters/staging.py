"""What the converters share: all of the result or nothing of it, and progress."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged_folder(target: Path, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside ``target`` that becomes ``target`` when the block succeeds.

    Args:
        target (Path): The final folder. Must not exist yet, or be empty.
        replace (bool): Whether it may exist after all, and is then replaced. Defaults to False.

    Yields:
        Path: The folder to write to.

    Raises:
        SystemExit: If ``target`` holds something already.
    """
    if not replace and target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise SystemExit(f"{target} exists already; remove it or name another output folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        # mkdtemp makes it private to its owner; a data set is shared.
        stage.chmod(0o755)
        yield stage
        if replace:
            shutil.rmtree(target, ignore_errors=True)
        stage.replace(target)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise


def report(done: int, total: int, what: str, every: int = 1) -> None:
    """Print a line of progress.

    Args:
        done (int): Number of items done.
        total (int): Number of items in all.
        what (str): What the items are.
        every (int): Print after each ``every`` items, and at the end. Defaults to 1.
    """
    if done % every == 0 or done == total:
        print(f"{done}/{total} {what}", flush=True)


def existing(path: Path, hint: str) -> Path:
    """Return ``path`` if it exists.

    Args:
        path (Path): A file or folder of the input.
        hint (str): What to do where it is missing.

    Returns:
        Path: The same path.

    Raises:
        SystemExit: If it does not exist.
    """
    if not path.exists():
        raise SystemExit(f"{path} does not exist. {hint}")
    return path
