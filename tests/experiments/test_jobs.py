"""Jobs: their signatures and stamps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmickd.experiments.jobs import STAMP, Job

BEFORE = Job("before", ["true"], Path("before"))
CHANGES: dict[str, Any] = {
    "command": dict(command=["false"]),
    "one more argument": dict(command=["true", ""]),
    "inputs": dict(inputs="b"),
    "a job before": dict(after=(BEFORE,)),
    "another job before": dict(after=(Job("before", ["true"], Path("before"), inputs="b"),)),
    "a job before that": dict(after=(Job("before", ["true"], Path("before"), after=(BEFORE,)),)),
}
SAME: dict[str, Any] = {
    "name": dict(name="other"),
    "folder": dict(folder=Path("other")),
    "cost": dict(cost=9.0),
    "progress": dict(steps=9, unit="epoch"),
    "arguments for resuming": dict(resume=("--resume",)),
}


def signature(**changes: Any) -> str:
    plain = dict(name="a", command=["true"], folder=Path("a"), inputs="a")
    return Job(**{**plain, **changes}).signature


def test_the_signature_depends_on_what_decides_the_result() -> None:
    signatures = [signature(), *(signature(**change) for change in CHANGES.values())]
    assert len(set(signatures)) == len(signatures)


@pytest.mark.parametrize("case", SAME)
def test_the_signature_depends_on_nothing_else(case: str) -> None:
    assert signature(**SAME[case]) == signature()


def test_the_final_checkpoint_is_that_of_the_last_step(tmp_path: Path) -> None:
    job = Job("a", ["true"], tmp_path, steps=60, unit="epoch")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_20.pth"))
    assert job.final_checkpoint == tmp_path / "epoch_60.pth"
    assert job.checkpoint() == tmp_path / "epoch_20.pth"


@pytest.mark.parametrize("text", ["", "{", '{"signature": "x", "seconds": 1}', "{}", "[]", "1"])
def test_a_broken_stamp_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / STAMP).write_text(text)
    assert Job("a", ["true"], tmp_path).stamp() is None
