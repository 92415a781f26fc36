"""Command lines that ``dist-train`` and ``dist-test`` give to torchrun."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch.distributed.run

from mmickd.commands import dist

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def command_lines(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Command lines that torchrun gets."""
    for name in ("NNODES", "NODE_RANK", "MASTER_ADDR", "PORT"):
        monkeypatch.delenv(name, raising=False)
    lines: list[list[str]] = []
    monkeypatch.setattr(torch.distributed.run, "main", lines.append)
    return lines


def test_each_rank_runs_the_tool_with_the_arguments(command_lines) -> None:
    dist.train(["run.py", "4", "--seed", "1", "--cfg-options", "a=1", "b.c=2"])
    dist.test(["run.py", "a.pth", "2", "--tta"])
    train, test = (torch.distributed.run.parse_args(line) for line in command_lines)
    assert train.training_script == str(TOOLS / "train.py")
    words = ["--seed", "1", "--cfg-options", "a=1", "b.c=2"]
    assert train.training_script_args == ["run.py", "--launcher=pytorch", *words]
    assert train.nproc_per_node == "4"
    assert test.training_script == str(TOOLS / "test.py")
    assert test.training_script_args == ["run.py", "a.pth", "--launcher=pytorch", "--tta"]


def test_one_machine_uses_a_free_port(command_lines) -> None:
    dist.train(["run.py", "2"])
    args = torch.distributed.run.parse_args(command_lines[0])
    assert (args.nnodes, args.node_rank, args.master_addr) == ("1", 0, "127.0.0.1")
    assert args.master_port > 1023


def test_several_machines_use_the_address_of_the_environment(command_lines, monkeypatch) -> None:
    monkeypatch.setenv("NNODES", "2")
    monkeypatch.setenv("NODE_RANK", "1")
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    dist.train(["run.py", "8"])
    monkeypatch.setenv("PORT", "1234")
    dist.train(["run.py", "8"])
    first, second = (torch.distributed.run.parse_args(line) for line in command_lines)
    assert (first.nnodes, first.node_rank, first.master_addr) == ("2", 1, "10.0.0.1")
    assert (first.master_port, second.master_port) == (29500, 1234)


@pytest.mark.parametrize("words", [[], ["run.py"], ["--seed", "1"]])
def test_too_few_arguments_are_exit_code_2(command_lines, words) -> None:
    with pytest.raises(SystemExit, match="2"):
        dist.train(words)
    assert not command_lines
