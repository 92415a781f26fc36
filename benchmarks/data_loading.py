"""Measure the CPU time of a training batch, with and without the images in memory.

    python benchmarks/data_loading.py configs/small/tin100_32px_student.py

The training data set of the config must be a ``mmickd.InMemoryDataset``; the data set inside it is
measured as ``stock``.
"""

from __future__ import annotations

import argparse
import copy
import time
from itertools import islice
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import mmickd  # noqa: F401 (registers the data set)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("--batches", type=int, default=30, help="batches to time")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    return parser.parse_args()


def measure(loader: dict[str, Any], batches: int) -> tuple[float, float]:
    """Return the seconds until the first batch, and the milliseconds of each later batch."""
    begin = time.process_time()
    stream = iter(Runner.build_dataloader(loader, seed=0))
    next(stream)
    first = time.process_time() - begin
    begin = time.process_time()
    count = sum(1 for _ in islice(stream, batches))
    return first, 1000 * (time.process_time() - begin) / count


def main() -> None:
    """Measure both data sets and print the results."""
    args = parse_args()
    torch.set_num_threads(1)
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    init_default_scope(cfg.default_scope)
    in_memory = copy.deepcopy(cfg.train_dataloader)
    in_memory.update(batch_size=args.batch_size, num_workers=0, persistent_workers=False)
    stock = copy.deepcopy(in_memory)
    stock.dataset = stock.dataset.dataset
    for name, loader in (("stock", stock), ("in memory", in_memory)):
        first, each = measure(loader, args.batches)
        print(f"{name:10} first batch {first:6.2f} s, then {each:6.2f} ms a batch")


if __name__ == "__main__":
    main()
