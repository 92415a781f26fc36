"""Runs with options that change which rows a step retrieves."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmickd.losses import kd_loss, nicd_loss, picd_loss
from tests.helpers import toys
from tests.helpers.recorders import SearchRecorder
from tests.helpers.tiny import history, run

TERMS = ("loss_kd", "loss_picd", "loss_nicd")
LEVELS = [("mmpretrain", "image"), ("mmseg", "pixel"), ("mmseg", "region")]


def record_searches(cfg: Any) -> tuple[Runner, SearchRecorder]:
    recorder = SearchRecorder()
    return run(cfg, recorder), recorder


def test_losses_equal_the_pure_functions() -> None:
    weights = dict(kd=0.5, picd=2.0, nicd=3.0)
    losses: dict[str, dict[str, Any]] = {k: dict(loss_weight=v) for k, v in weights.items()}
    runner, recorder = record_searches(toys.classifier().distilled(losses=losses))
    for step, search in enumerate(recorder.searches):
        student, query = recorder.logits[step], search.query
        expected = dict(
            loss_kd=0.5 * kd_loss(student, query.logits, 4.0),
            loss_picd=2.0 * picd_loss(student, search.positives),
            loss_nicd=3.0 * nicd_loss(student, query.logits, search.negatives),
        )
        for name, value in expected.items():
            assert history(runner, name)[step] == pytest.approx(float(value), rel=1e-5), name
        assert torch.allclose(query.features.norm(dim=1), torch.ones(len(query)), atol=1e-5)


@functools.cache
def default_run(scope: str, level: str) -> Runner:
    return run(toys.toy(scope).distilled(level=level))


@pytest.mark.parametrize(("scope", "level"), LEVELS)
@pytest.mark.parametrize("retriever", ["faiss", "chunked"])
def test_another_retriever_changes_no_loss(retriever: str, scope: str, level: str) -> None:
    if retriever == "faiss":
        pytest.importorskip("faiss")
    options = dict(faiss=dict(type="FaissRetriever"), chunked=dict(chunk_size=3))[retriever]
    runner = run(toys.toy(scope).distilled(level=level, retriever=options))
    for name in (*TERMS, "loss", "picd_valid", "picd_sim", "nicd_sim"):
        expected = history(default_run(scope, level), name)
        np.testing.assert_allclose(history(runner, name), expected, atol=1e-4)
        if retriever == "chunked" and "loss" in name:
            np.testing.assert_allclose(history(runner, name), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("scope", "level"), [LEVELS[0], LEVELS[2]])
def test_bank_queries_have_the_stored_features(scope: str, level: str) -> None:
    _, recorder = record_searches(toys.toy(scope).distilled(level=level, query="bank"))
    assert recorder.searches
    for search in recorder.searches:
        bank, query = search.bank, search.query
        labelled = (query.labels >= 0).nonzero()[:, 0].tolist()
        assert labelled
        for i in labelled:
            is_stored_row = (bank.ids == query.ids[i]) & (bank.labels == query.labels[i])
            assert is_stored_row.any()
            assert torch.equal(query.features[i], bank.features[is_stored_row][0].float())


def test_positives_may_be_the_whole_class() -> None:
    cfg = toys.classifier().distilled(losses=dict(picd=dict(num_positives=None)))
    runner, recorder = record_searches(cfg)
    for search in recorder.searches:
        mask = search.positives.mask
        assert mask.shape == (len(search.query), search.bank.max_class_size)
        assert (mask.sum(dim=1) == 5).all()  # six images of each class but the query's own image
    assert all(v == pytest.approx(5 / 6) for v in history(runner, "picd_valid"))


def test_no_negatives_is_the_cosine_control() -> None:
    cfg = toys.segmenter().distilled(losses=dict(nicd=dict(loss_weight=1.0, num_negatives=0)))
    runner, recorder = record_searches(cfg)
    assert all(search.negatives.mask.shape[1] == 0 for search in recorder.searches)
    assert all(0 < v <= 2 / 0.5 for v in history(runner, "loss_nicd"))
    assert history(runner, "nicd_sim") == [0, 0, 0]


def test_more_rows_are_requested_than_the_bank_has() -> None:
    losses = dict(picd=dict(num_positives=500), nicd=dict(num_negatives=500))
    runner, recorder = record_searches(toys.classifier().distilled(losses=losses))
    for search in recorder.searches:
        assert (search.positives.mask.sum(dim=1) == 5).all()
        assert (search.negatives.mask.sum(dim=1) == 12).all()
    assert all(np.isfinite(history(runner, name)).all() for name in (*TERMS, "loss"))


def test_anchors_bound_the_queries_of_an_image() -> None:
    _, recorder = record_searches(toys.segmenter().distilled(anchors=5))
    for search in recorder.searches:
        assert len(search.query) == 2 * 5
        _, counts = search.query.ids.unique(return_counts=True)
        assert (counts == 5).all()


def test_anchors_differ_from_step_to_step_and_repeat_with_the_run() -> None:
    def features(**options: Any) -> list[torch.Tensor]:
        _, recorder = record_searches(toys.segmenter().distilled(anchors=4, **options))
        return [search.query.features for search in recorder.searches]

    first, second = features(), features()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], features(bank=dict(seed=1))[0])


@pytest.mark.parametrize("term", ["picd", "nicd"])
def test_rows_are_retrieved_only_for_terms_whose_weight_is_above_0(term: str) -> None:
    other = "nicd" if term == "picd" else "picd"
    losses = {term: dict(loss_weight=dict(value=1.0, begin=2)), other: dict()}
    runner, recorder = record_searches(toys.classifier().distilled(losses=losses))
    contexts = "positives" if term == "picd" else "negatives"
    widths = [getattr(search, contexts).mask.shape[1] for search in recorder.searches]
    assert widths[:2] == [0, 0]
    assert widths[2] > 0
    assert [v > 0 for v in history(runner, f"loss_{term}")] == [False, False, True]
    assert all(v > 0 for v in history(runner, f"loss_{other}"))


def test_nothing_is_retrieved_while_all_weights_are_0() -> None:
    later = dict(loss_weight=dict(value=1.0, begin=2))
    losses = dict(kd=later, picd=later, nicd=later)
    _, recorder = record_searches(toys.classifier().distilled(losses=losses))
    assert len(recorder.logits) == 3
    assert len(recorder.searches) == 1


class VoidLabels(Hook):
    """Labels every pixel as void."""

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        for sample in data_batch["data_samples"]:
            sample.gt_sem_seg.data.fill_(255)


def test_void_batches_have_a_loss_of_0_and_no_nan() -> None:
    runner = run(toys.segmenter().distilled(level=["pixel", "region"]), VoidLabels())
    for level in ("pixel", "region"):
        for term in ("loss_picd", "loss_nicd"):
            assert history(runner, f"{term}_{level}") == [0, 0, 0]
    assert history(runner, "loss_kd") == [0, 0, 0]
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())


def test_bank_dtype_changes_losses_by_rounding_only() -> None:
    toy = toys.classifier()
    halves = run(toy.distilled(bank=dict(dtype="fp16")))
    singles = run(toy.distilled(bank=dict(dtype="fp32")))
    for name in TERMS:
        np.testing.assert_allclose(history(halves, name), history(singles, name), rtol=2e-2)
    assert history(halves, "loss_nicd") != history(singles, "loss_nicd")
