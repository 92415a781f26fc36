"""Arguments, exit codes and results of commands that train several runs."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from mmickd.commands.arguments import positive_float, positive_int
from mmickd.commands.terminal import show_markdown
from mmickd.experiments.scheduler import JobFailed, TimeIsUp
from mmickd.utils.json_files import write_json

EXIT_CODES = """
The same command resumes after a stop by --minutes, Ctrl-C, SIGTERM or a kill: finished runs are
kept, and a stopped run resumes from its last checkpoint.

exit codes: 0 all is done, 1 a run failed or the input is wrong, 3 time is up, 130 Ctrl-C,
143 SIGTERM
"""


def add_run_arguments(
    parser: argparse.ArgumentParser,
    seeds: int = 3,
    seeds_help: str = "number of seeds of each student, from 0",
) -> None:
    """Add ``--seeds``, and the arguments of :func:`add_worker_arguments`.

    Args:
        parser: The parser to extend.
        seeds: Default number of seeds.
        seeds_help: Description of the seeds.
    """
    parser.add_argument("--seeds", type=positive_int, default=seeds, help=f"{seeds_help} ({seeds})")
    add_worker_arguments(parser)


def add_worker_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers`` and ``--minutes``."""
    parser.add_argument(
        "--workers", type=positive_int, default=default_workers(),
        help="number of runs at a time, each with one CPU thread; on a GPU they share it (one per "
        "core, at most 4)",
    )  # fmt: skip
    parser.add_argument(
        "--minutes", type=positive_float, help="time limit; the same command resumes from there"
    )


def default_workers() -> int:
    """Return the default of ``--workers``: one run per core, at most four."""
    on_linux = sys.platform.startswith("linux")
    cores = len(os.sched_getaffinity(0)) if on_linux else os.cpu_count() or 1
    return min(cores, 4)


def write_results(out: Path, text: str, data: object, json_file: Path | None = None) -> None:
    """Print a table, and write it as Markdown and as JSON.

    Args:
        out: Folder for ``results.md`` and ``results.json``.
        text: Table and notes in Markdown.
        data: Content of the JSON file.
        json_file: Another file for the same JSON.
    """
    (out / "results.md").write_text(text + "\n")
    for file in filter(None, [out / "results.json", json_file]):
        write_json(file, data)
    print()
    show_markdown(text)
    print(f"\ntable      {out / 'results.md'}, {out / 'results.json'}")


class Terminated(BaseException):
    """Exception for the signal SIGTERM, which ends a command like Ctrl-C."""


def exit_code_of(work: Callable[[], None]) -> int:
    """Call ``work``, which can be resumed, report its end, and return the exit code."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        work()
    except (JobFailed, ValueError, OSError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except TimeIsUp as error:
        print(f"\n{error}")
        return 3
    except KeyboardInterrupt:
        print("\nstopped; the same command resumes from here", file=sys.stderr)
        return 130
    except Terminated:
        print("\nterminated; the same command resumes from here", file=sys.stderr)
        return 143
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _terminate(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second signal must not interrupt the clean-up
    raise Terminated
