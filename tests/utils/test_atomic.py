"""Files that are written completely or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmickd.utils.atomic import atomic_write


@pytest.mark.parametrize("old", [None, "old"])
def test_a_block_that_fails_changes_nothing(tmp_path: Path, old: str | None) -> None:
    file = tmp_path / "results.json"
    if old is not None:
        file.write_text(old)
    with pytest.raises(KeyboardInterrupt), atomic_write(file) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert [path.read_text() for path in tmp_path.iterdir()] == ([] if old is None else [old])


def test_a_block_that_succeeds_replaces_the_file(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text("old")
    with atomic_write(file) as temporary:
        temporary.write_text("new")
        assert file.read_text() == "old" and temporary.name.startswith(".results.json.")
    assert file.read_text() == "new" and list(tmp_path.iterdir()) == [file]
    plain = tmp_path / "plain"
    plain.touch()
    assert file.stat().st_mode == plain.stat().st_mode
