"""Train or test with several processes on one or more machines, started by torchrun."""

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


def _launch(tool: str, names: list[str], argv: Sequence[str] | None, description: str) -> None:
    parser = argparse.ArgumentParser(
        description=description,
        epilog="environment: PORT, and for several machines NNODES, NODE_RANK, MASTER_ADDR",
    )
    for name in names:
        parser.add_argument(name, help=f"see mmickd {tool} --help")
    parser.add_argument("processes", help="number of processes on this machine, one for each GPU")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=f"options of mmickd {tool}")
    args = parser.parse_args(argv)

    from torch.distributed.run import main  # a slow import, which --help does not need

    main(
        [
            *_rendezvous(),
            f"--nproc_per_node={args.processes}",
            str(_tool(tool)),
            *(getattr(args, name) for name in names),
            "--launcher=pytorch",
            *args.arguments,
        ]
    )


def _rendezvous() -> list[str]:
    """Return torchrun's options by which the processes of all machines find each other."""
    nodes = os.environ.get("NNODES", "1")
    # a free port, so that two runs on one machine do not collide
    port = os.environ.get("PORT") or (_free_port() if nodes == "1" else "29500")
    return [
        f"--nnodes={nodes}",
        f"--node_rank={os.environ.get('NODE_RANK', '0')}",
        f"--master_addr={os.environ.get('MASTER_ADDR', '127.0.0.1')}",
        f"--master_port={port}",
    ]


def _free_port() -> str:
    with socket.socket() as free:
        free.bind(("", 0))
        return str(free.getsockname()[1])


def _tool(name: str) -> Path:
    """Return the script that each process runs: the wheel's copy, or the checkout's file.

    ``python -m`` is not used, as it prefers the working directory to the installed package.
    """
    in_wheel = _PACKAGE / ".mim" / "tools" / f"{name}.py"
    in_checkout = _PACKAGE.parent / "tools" / f"{name}.py"
    return (in_wheel if in_wheel.is_file() else in_checkout).resolve()
