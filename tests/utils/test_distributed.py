"""Communication between the ranks."""

from __future__ import annotations

import time

import pytest
import torch
from mmengine import dist

from mmickd.commands.arguments import run_command
from mmickd.utils import distributed
from mmickd.utils.distributed import (
    all_gather_with_grad,
    broadcast_buffers,
    broadcast_chunks,
    broadcast_object,
    current_group,
    gather_number,
    gather_rows_on_main,
    long_timeout_group,
    raise_on_all_ranks,
    rows_per_chunk,
)
from mmickd.utils.errors import ICKDError
from tests.helpers.ranks import on_ranks


def test_one_process_alone() -> None:
    rows = torch.arange(6).view(3, 2)
    with long_timeout_group():
        assert current_group() is None
    assert torch.equal(gather_rows_on_main([rows[:2], rows[2:]], [3], (2,), torch.long), rows)
    assert gather_number(4) == [4]
    assert broadcast_object({"a": 1}) == {"a": 1}
    (piece,) = broadcast_chunks(rows, (3, 2), torch.long)
    assert piece[0] == 0 and torch.equal(piece[1], rows)
    with raise_on_all_ranks():
        pass
    with pytest.raises(KeyError, match="key"), raise_on_all_ranks():
        raise KeyError("key")


def communicate() -> None:
    for chunk_bytes in (1, 24, 2**26):
        distributed.CHUNK_BYTES = chunk_bytes
        with long_timeout_group():
            check_messages(chunk_bytes)


def check_messages(chunk_bytes: int) -> None:
    rank = torch.distributed.get_rank()
    for dtype in (torch.float16, torch.int64):
        for sizes in ((2, 0, 5), (0, 0, 0), (0, 7, 1)):
            parts = [
                torch.arange(4 * n).view(n, 4).to(dtype) + 100 * r for r, n in enumerate(sizes)
            ]
            pieces = parts[rank].split(rows_per_chunk((0, 4), dtype))
            joined = gather_rows_on_main(pieces, gather_number(len(parts[rank])), (4,), dtype)
            if rank == 0:
                assert joined is not None and joined.dtype == dtype
                assert torch.equal(joined, torch.cat(parts))
            else:
                assert joined is None

    expected = torch.arange(21.0).view(7, 3)
    pieces = list(broadcast_chunks(expected if rank == 0 else None, (7, 3), torch.float32))
    assert [start for start, _ in pieces] == list(range(0, 7, max(1, chunk_bytes // 12)))
    assert torch.equal(torch.cat([piece for _, piece in pieces]), expected)
    assert broadcast_object(["level", rank]) == ["level", 0]

    message = "broken.png" if rank == 1 else r"\[rank 1\] ValueError: broken.png"
    error = ValueError if rank == 1 else ICKDError
    with pytest.raises(error, match=message), raise_on_all_ranks():
        if rank == 1:
            raise ValueError("broken.png")
    with raise_on_all_ranks():
        pass


def test_three_ranks_communicate_by_messages_of_any_size() -> None:
    on_ranks(3, communicate)


def end_as_a_tool() -> bool:
    run_command(lambda: None)
    return torch.distributed.is_initialized()


def test_commands_leave_the_group_before_their_process_ends() -> None:
    """Otherwise about one in five processes aborts after its work is done."""
    assert on_ranks(2, end_as_a_tool) == [False, False]


def wait_for_a_slow_rank() -> str:
    with long_timeout_group(), raise_on_all_ranks():
        if torch.distributed.get_rank() == 1:
            time.sleep(6)
    # the same wait, with the timeout of the run's group
    try:
        with raise_on_all_ranks():
            if torch.distributed.get_rank() == 1:
                time.sleep(6)
    except RuntimeError as error:
        return str(error)
    return ""


def test_a_rank_waits_longer_than_the_timeout_of_the_run() -> None:
    """The run's timeout is 2 s here, and a rank takes 6 s (a slow disk)."""
    assert "imed out" in "".join(on_ranks(2, wait_for_a_slow_rank, timeout=2.0))


def sums_of_powers() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gathered tensors, and this rank's gradient of a loss that differs by rank."""
    rank = dist.get_rank()
    x = torch.tensor([1.0 + rank, 3.0], requires_grad=True)
    gathered = all_gather_with_grad(x)
    gathered.pow(2 + rank).sum().backward()
    assert x.grad is not None
    return gathered.detach(), x.grad


def test_the_gradient_of_gathered_tensors_sums_over_all_ranks() -> None:
    first, second = on_ranks(2, sums_of_powers)
    for gathered, _ in (first, second):
        assert torch.equal(gathered, torch.tensor([[1.0, 3.0], [2.0, 3.0]]))
    # x^2 on rank 0 and x^3 on rank 1: 2 x + 3 x^2 for either rank's x
    assert torch.equal(first[1], torch.tensor([5.0, 33.0]))
    assert torch.equal(second[1], torch.tensor([16.0, 33.0]))


def broadcast_statistics() -> dict[str, torch.Tensor]:
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(2).half())
    for number, buffer in enumerate(model.buffers()):
        buffer.fill_(10 * dist.get_rank() + number)
    broadcast_buffers(model)
    return dict(model.named_buffers())


def test_running_statistics_are_copied_from_rank_0() -> None:
    first, second = on_ranks(2, broadcast_statistics)
    means = [0.0, 1.0, 3.0, 4.0]
    for buffers in (first, second):
        running = [b for name, b in buffers.items() if "running" in name]
        assert [float(b.mean()) for b in running] == means
    assert running[2].dtype == torch.float16
    # counters stay
    assert second["0.num_batches_tracked"] == 12
