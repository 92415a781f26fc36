"""Pictures of a study: retrieval, and predictions of teacher and students."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers import toys
from tests.helpers.tiny import plain_config_text, run

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from study_pictures import main, select_disagreements


def test_images_that_the_students_disagree_on_come_first() -> None:
    labels = {"a": [0] * 8, "b": [0, 1, 0, 0, 1, 0, 0, 1]}
    assert select_disagreements(labels, count=4) == [1, 4, 7, 0]
    assert select_disagreements(labels, count=2) == [1, 4]


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_retrieval_and_predictions_are_drawn(scope: str, tmp_path: Path) -> None:
    toy = toys.toy(scope)
    student = run(toy.student())
    cfg, out = toy.distilled(bank={"cache_dir": None}), tmp_path / "pictures"
    with plain_config_text():
        cfg.dump(tmp_path / "config.py")
        main([str(tmp_path / "config.py"), str(out), "--students", f"KD={student.work_dir}"])
    for name in ("retrieval", "predictions"):
        assert len(Image.open(out / f"{name}.png").convert("RGB").getcolors(10**7)) > 10
