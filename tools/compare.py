"""Train a teacher and several students over paired seeds, and print one table."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from comparing.comparison import read_comparison
from comparing.environment import environment
from comparing.scheduler import JobFailed, Scheduler, available_cores


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("comparison", type=Path, help="JSON file, see benchmarks/README.md")
    parser.add_argument("--out", type=Path, help="folder of all runs (work_dirs/NAME_OF_THE_FILE)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each student")
    parser.add_argument("--workers", type=int, help="runs side by side (one per core, at most 4)")
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], help="KEY=VALUE pairs for every run's config"
    )
    args = parser.parse_args(argv)
    if args.seeds < 1 or (args.workers is not None and args.workers < 1):
        parser.error("--seeds and --workers must be at least 1")
    args.out = (args.out or Path("work_dirs") / args.comparison.stem).resolve()
    args.workers = args.workers or min(available_cores(), 4)
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not done yet, then print and write the table."""
    args = parse_args(argv)
    try:
        comparison = read_comparison(args.comparison, args.out, range(args.seeds), args.cfg_options)
        jobs = comparison.jobs()
        print(f"{len(jobs)} runs, {args.workers} at a time, below {args.out}", flush=True)
        Scheduler(jobs, args.workers, environment()).run()
        text, rows = comparison.table()
    except (JobFailed, ValueError, OSError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    (args.out / "results.md").write_text(text + "\n")
    (args.out / "results.json").write_text(json.dumps(rows, indent=2) + "\n")
    print(f"\n{text}\n\ntable  {args.out / 'results.md'}, {args.out / 'results.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
