"""Runs of a classifier and of a segmenter with the hook: losses, logs and parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mmengine.runner import Runner

from tests.helpers import toys
from tests.helpers.tiny import history, run, scalar_names

CASES = {
    "image": ("mmpretrain", None, [""]),
    "pixel": ("mmseg", None, [""]),
    "region": ("mmseg", "region", [""]),
    "both": ("mmseg", ["pixel", "region"], ["_pixel", "_region"]),
}


Runs = tuple[Runner, Runner, list[str]]
"""A run with the hook, the run without it, and the suffixes of the levels in the log."""


@pytest.fixture(scope="module", params=CASES)
def runs(request: pytest.FixtureRequest) -> Runs:
    scope, level, suffixes = CASES[request.param]
    toy = toys.toy(scope)
    return run(toy.distilled(level=level)), run(toy.student()), suffixes


def names(runner: Runner) -> set[str]:
    return set(scalar_names(runner)) - {"lr", "time", "data_time"}


def test_the_log_has_each_term_and_nothing_else(runs: Runs) -> None:
    distilled, plain, suffixes = runs
    added = names(distilled) - names(plain) - {"loss_ce"}
    terms = ("loss_picd", "loss_nicd", "picd_valid", "picd_sim", "nicd_sim")
    expected = {"loss_kd", "retrieval_share"} | {t + s for t in terms for s in suffixes}
    assert added == expected
    assert names(plain) <= names(distilled)


def test_the_loss_is_the_sum_of_all_losses(runs: Runs) -> None:
    distilled, _, _ = runs
    parts = [n for n in names(distilled) if "loss" in n and n != "loss"]
    assert any(n.endswith("loss_ce") for n in parts)
    total = np.sum([history(distilled, n) for n in parts], axis=0)
    np.testing.assert_allclose(history(distilled, "loss"), total, rtol=1e-5)
    for name in parts:
        assert all(math.isfinite(v) and v > 0 for v in history(distilled, name)), name


def test_diagnostics_are_in_range(runs: Runs) -> None:
    distilled, _, suffixes = runs
    assert all(0 < v < 1 for v in history(distilled, "retrieval_share"))
    for suffix in suffixes:
        assert all(0 < v <= 1 for v in history(distilled, f"picd_valid{suffix}"))
        for term in ("picd", "nicd"):
            assert all(-1 <= v <= 1 for v in history(distilled, f"{term}_sim{suffix}"))


def test_the_terms_change_the_student(runs: Runs) -> None:
    distilled, plain, _ = runs
    # the student is the same in the first step only
    task = "loss_ce" if "loss_ce" in names(distilled) else "decode.loss_ce"
    plain_task = "loss" if task == "loss_ce" else task
    assert history(distilled, task)[0] == history(plain, plain_task)[0]
    assert history(distilled, task)[1:] != history(plain, plain_task)[1:]
    assert not toys.same_state(distilled.model.state_dict(), plain.model.state_dict())


def test_the_log_names_layers_and_banks(runs: Runs) -> None:
    distilled, _, suffixes = runs
    log = toys.log_of(distilled)
    layer = "head.fc" if distilled.cfg.default_scope == "mmpretrain" else "decode_head.conv_seg"
    assert f"student layer {layer}, teacher layer {layer}" in log
    for suffix in suffixes:
        assert f"{suffix[1:]} level: MemoryBank(" in log


@pytest.mark.parametrize(
    ("scope", "dense"), [("mmpretrain", True), ("mmseg", True), ("mmseg", False)]
)
def test_kd_alone_builds_no_bank(scope: str, dense: bool) -> None:
    runner = run(toys.toy(scope).distilled(losses=dict(toys.KD_ONLY, kd=dict(dense=dense))))
    assert "MemoryBank" not in toys.log_of(runner)
    assert not any("icd" in name or name == "retrieval_share" for name in names(runner))
    assert all(v > 0 for v in history(runner, "loss_kd"))


@pytest.mark.parametrize(
    ("losses", "terms", "banked"),
    [
        (dict(kd=None), {"loss_picd", "loss_nicd"}, True),
        (dict(picd=None), {"loss_kd", "loss_nicd"}, True),
        (dict(nicd=None), {"loss_kd", "loss_picd"}, True),
        (dict(picd=None, nicd=dict(num_negatives=0)), {"loss_kd", "loss_nicd"}, False),
        (dict(kd=None, picd=None, nicd=None), set(), False),
    ],
)
def test_terms_switch_off_one_by_one(losses: dict, terms: set[str], banked: bool) -> None:
    runner = run(toys.classifier().distilled(losses=losses))
    assert {name for name in names(runner) if name.startswith("loss_")} - {"loss_ce"} == terms
    assert ("MemoryBank" in toys.log_of(runner)) is banked
    for term in terms:
        assert all(v > 0 for v in history(runner, term)), term


def test_no_hook_stays_on_the_model(runs: Runs) -> None:
    distilled, plain, _ = runs

    def hooks(runner: Runner) -> int:
        return sum(
            len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
            for m in runner.model.modules()
        )

    assert hooks(distilled) == hooks(plain)
    assert toys.hook_of(distilled).distiller is None
