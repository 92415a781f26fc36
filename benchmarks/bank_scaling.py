"""Measure time, memory and traffic of retrieval from a whole bank and a sharded one.

    python benchmarks/bank_scaling.py --ranks 1 2 4 --rows 100000 --width 512

Every rank is a process (gloo, CPU) that searches for its synthetic queries, as in a training step.
With fewer cores than ranks, the ranks take turns, and the time of a step is the total work. Traffic
is the number of bytes that one rank receives in a step.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.distributed as torch_dist
import torch.multiprocessing as mp

from mmickd.banks import MemoryBank
from mmickd.banks.ranks import replicate_bank, shard_bank
from mmickd.banks.shard import BankShard
from mmickd.retrieval import FaissRetriever, TorchRetriever
from mmickd.retrieval.sharded import ShardedRetriever
from mmickd.structures import Samples

RETRIEVERS = dict(torch=TorchRetriever, faiss=FaissRetriever)
HEADER = ("rows", "width", "ranks", "bank", "MiB a rank", "ms a step", "KiB received")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rows", type=int, nargs="+", default=[25_000, 100_000])
    parser.add_argument("--width", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--queries", type=int, default=64, help="queries of each rank in a step")
    parser.add_argument("--positives", type=int, default=16)
    parser.add_argument("--negatives", type=int, default=32)
    parser.add_argument("--steps", type=int, default=7, help="timed steps; the median is reported")
    parser.add_argument("--retriever", choices=RETRIEVERS, default="torch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="also write the rows to this JSON file")
    return parser.parse_args(argv)


def random_samples(count: int, width: int, args: argparse.Namespace, seed: int) -> Samples:
    """Return rows with random features around the centres of the classes."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, args.classes, (count,), generator=g)
    centres = torch.randn(args.classes, width, generator=torch.Generator().manual_seed(1))
    features = centres[labels] + torch.randn(count, width, generator=g)
    return Samples(
        torch.nn.functional.normalize(features, dim=1).half(),
        torch.randn(count, args.classes, generator=g).half(),
        labels,
        torch.arange(count) + seed * 10**9,
    )


class Traffic:
    """Counter of the bytes that other ranks send to this rank."""

    def __init__(self) -> None:
        self.total = 0
        for name in ("all_gather_into_tensor", "all_to_all_single"):
            setattr(torch_dist, name, self._counted(getattr(torch_dist, name)))

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(output: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            world_size, rank = torch_dist.get_world_size(), torch_dist.get_rank()
            rows = len(output)
            local = args[1][rank] if len(args) > 1 else rows // world_size
            self.total += (rows - local) * output[:1].numel() * output.element_size()
            return function(output, *args, **kwargs)

        return counted


def measure(
    rank: int, world_size: int, shard: bool, rows: int, width: int, args: Any, folder: str
) -> None:
    """Run the steps of one rank; rank 0 writes the measurements."""
    torch.set_num_threads(1)
    torch_dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size
    )
    bank = (
        MemoryBank(random_samples(rows, width, args, args.seed), args.classes) if not rank else None
    )
    local_bank = (shard_bank if shard else replicate_bank)(bank)
    del bank
    query = random_samples(args.queries, width, args, args.seed + 1 + rank)
    local = RETRIEVERS[args.retriever]()
    retriever = ShardedRetriever(local) if isinstance(local_bank, BankShard) else local
    traffic, seconds = Traffic(), []
    for _ in range(args.steps + 1):
        torch_dist.barrier()
        traffic.total, begin = 0, time.perf_counter()
        retriever.search(local_bank, query, args.positives, args.negatives)
        torch_dist.barrier()
        seconds.append(time.perf_counter() - begin)
    if rank == 0:
        result = dict(
            mib=local_bank.nbytes / 2**20,
            ms=statistics.median(seconds[1:]) * 1000,
            kib=traffic.total / 1024,
        )
        Path(folder, "result.json").write_text(json.dumps(result))
    torch_dist.destroy_process_group()


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    table = []
    print("  ".join(f"{name:>12}" for name in HEADER))
    for rows in args.rows:
        for width in args.width:
            for ranks in args.ranks:
                for shard in (False, True) if ranks > 1 else (False,):
                    with tempfile.TemporaryDirectory() as folder:
                        mp.spawn(measure, (ranks, shard, rows, width, args, folder), nprocs=ranks)
                        result = json.loads(Path(folder, "result.json").read_text())
                    kind = "sharded" if shard else "whole"
                    row = dict(rows=rows, width=width, ranks=ranks, bank=kind, **result)
                    table.append(row)
                    cells = [f"{v:.1f}" if isinstance(v, float) else str(v) for v in row.values()]
                    print("  ".join(f"{cell:>12}" for cell in cells), flush=True)
    if args.out:
        args.out.write_text(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
