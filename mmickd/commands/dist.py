"""Train or test with several processes on one machine or more, by torch's own launcher."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Sequence
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def train(argv: Sequence[str] | None = None) -> None:
    """Train with several processes; without a GPU they run on the CPU."""
    _launch("train", ["config"], argv, str(train.__doc__))


def test(argv: Sequence[str] | None = None) -> None:
    """Test with several processes; without a GPU they run on the CPU."""
    _launch("test", ["config", "checkpoint"], argv, str(test.__doc__))


def _launch(tool: str, given: list[str], argv: Sequence[str] | None, about: str) -> None:
    parser = argparse.ArgumentParser(
        description=about,
        epilog="environment: PORT, and for several machines NNODES, NODE_RANK, MASTER_ADDR",
    )
    for name in given:
        parser.add_argument(name)
    parser.add_argument("processes", help="processes on this machine: one per GPU")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=f"as of {tool}")
    args = parser.parse_args(argv)

    from torch.distributed.run import main  # here, since it takes seconds: --help does without

    main(
        [
            *_rendezvous(),
            f"--nproc_per_node={args.processes}",
            str(_tool(tool)),
            *(getattr(args, name) for name in given),
            "--launcher=pytorch",
            *args.arguments,
        ]
    )


def _rendezvous() -> list[str]:
    """Where the processes of all machines meet."""
    nodes = os.environ.get("NNODES", "1")
    # a free port, so that two runs on one machine do not meet
    port = os.environ.get("PORT") or (_free_port() if nodes == "1" else "29500")
    return [
        f"--nnodes={nodes}",
        f"--node_rank={os.environ.get('NODE_RANK', '0')}",
        f"--master_addr={os.environ.get('MASTER_ADDR', '127.0.0.1')}",
        f"--master_port={port}",
    ]


def _free_port() -> str:
    with socket.socket() as one:
        one.bind(("", 0))
        return str(one.getsockname()[1])


def _tool(name: str) -> Path:
    """The script that each process runs: a checkout's own, or what the wheel carries.

    A script, since ``python -m`` would let the working directory shadow whatever is installed.
    """
    carried = _PACKAGE / ".mim" / "tools" / f"{name}.py"
    beside = _PACKAGE.parent / "tools" / f"{name}.py"
    return (carried if carried.is_file() else beside).resolve()
