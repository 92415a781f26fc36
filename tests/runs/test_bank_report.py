"""Log of a run about its bank, built or read from the cache, and about scheduled weights."""

from __future__ import annotations

import pytest

from tests.helpers import toys
from tests.helpers.logs import BUILDS
from tests.helpers.tiny import history, run

LEVELS = {"mmpretrain": ["image"], "mmseg": ["pixel", "region"]}


@pytest.mark.parametrize("scope", LEVELS)
def test_a_bank_is_reported_when_it_is_built_and_when_it_is_read(scope: str) -> None:
    cache = str(toys.new_folder())
    cfg = toys.toy(scope).distilled(level=LEVELS[scope], bank=dict(cache_dir=cache))
    built, read = (toys.log_of(run(cfg)) for _ in range(2))
    assert BUILDS in built and BUILDS not in read
    for log in (built, read):
        for level in LEVELS[scope]:
            assert log.count(f"{level} level: rows of a class: median") == 1
            assert log.count(f"{level} level: losses.picd.num_positives=16") == (level != "pixel")


def test_the_weight_of_a_scheduled_term_is_logged() -> None:
    growing = dict(loss_weight=dict(value=1.0, warmup=2))
    runner = run(toys.classifier().distilled(losses=dict(kd=growing, picd=None)))
    assert history(runner, "kd_weight") == [0.0, 0.5, 1.0]
    assert "train/nicd_weight" not in runner.message_hub.log_scalars
    assert "kd_weight: 0.5" in toys.log_of(runner)
