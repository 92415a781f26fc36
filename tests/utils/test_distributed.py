"""What the ranks tell each other before training."""

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


def test_one_process_needs_no_others() -> None:
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
    with pytest.raises(KeyError, match="own"), raise_on_all_ranks():
        raise KeyError("own")


def talk() -> None:
    for chunk_bytes in (1, 24, 2**26):
        distributed.CHUNK_BYTES = chunk_bytes
        with long_timeout_group():
            talk_patiently(chunk_bytes)


def talk_patiently(chunk_bytes: int) -> None:
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

    want = torch.arange(21.0).view(7, 3)
    pieces = list(broadcast_chunks(want if rank == 0 else None, (7, 3), torch.float32))
    assert [start for start, _ in pieces] == list(range(0, 7, max(1, chunk_bytes // 12)))
    assert torch.equal(torch.cat([piece for _, piece in pieces]), want)
    assert broadcast_object(["level", rank]) == ["level", 0]

    wanted = "broken.png" if rank == 1 else r"\[rank 1\] ValueError: broken.png"
    error = ValueError if rank == 1 else ICKDError
    with pytest.raises(error, match=wanted), raise_on_all_ranks():
        if rank == 1:
            raise ValueError("broken.png")
    with raise_on_all_ranks():
        pass


def test_three_ranks_talk_in_messages_of_any_size() -> None:
    on_ranks(3, talk)


def end_as_a_tool() -> bool:
    run_command(lambda: None)
    return torch.distributed.is_initialized()


def test_tools_leave_the_group_before_their_process_ends() -> None:
    """Else one of them in five may abort after all its work is done."""
    assert on_ranks(2, end_as_a_tool) == [False, False]


def wait_for_a_slow_rank() -> str:
    with long_timeout_group(), raise_on_all_ranks():
        if torch.distributed.get_rank() == 1:
            time.sleep(6)
    # the same wait, with the run's own patience
    try:
        with raise_on_all_ranks():
            if torch.distributed.get_rank() == 1:
                time.sleep(6)
    except RuntimeError as error:
        return str(error)
    return ""


def test_a_rank_waits_longer_than_a_collective_may_take() -> None:
    """As with a slow disk: the run's own timeout is 2 s here."""
    assert "imed out" in "".join(on_ranks(2, wait_for_a_slow_rank, timeout=2.0))


def sums_of_powers() -> tuple[torch.Tensor, torch.Tensor]:
    """What this rank sees of both, and its gradient when each makes something else of it."""
    rank = dist.get_rank()
    own = torch.tensor([1.0 + rank, 3.0], requires_grad=True)
    seen = all_gather_with_grad(own)
    seen.pow(2 + rank).sum().backward()
    assert own.grad is not None
    return seen.detach(), own.grad


def test_the_gradient_of_what_all_ranks_see_is_of_all_of_them() -> None:
    first, second = on_ranks(2, sums_of_powers)
    for seen, _ in (first, second):
        assert torch.equal(seen, torch.tensor([[1.0, 3.0], [2.0, 3.0]]))
    # x^2 on rank 0 and x^3 on rank 1: 2 x + 3 x^2 for either rank's x
    assert torch.equal(first[1], torch.tensor([5.0, 33.0]))
    assert torch.equal(second[1], torch.tensor([16.0, 33.0]))


def norm_of_main() -> dict[str, torch.Tensor]:
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(2).half())
    for number, buffer in enumerate(model.buffers()):
        buffer.fill_(10 * dist.get_rank() + number)
    broadcast_buffers(model)
    return dict(model.named_buffers())


def test_running_statistics_are_taken_from_rank_0() -> None:
    first, second = on_ranks(2, norm_of_main)
    means = [0.0, 1.0, 3.0, 4.0]
    for buffers in (first, second):
        running = [b for name, b in buffers.items() if "running" in name]
        assert [float(b.mean()) for b in running] == means
    assert running[2].dtype == torch.float16
    # counters are left alone
    assert second["0.num_batches_tracked"] == 12
