"""The step under options that change what it retrieves, in real runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmickd.losses import kd_loss, nicd_loss, picd_loss
from mmickd.structures import Context
from tests.helpers import toys
from tests.helpers.tiny import build, history, plain_config_text, run

TERMS = ("loss_kd", "loss_picd", "loss_nicd")
LEVELS = [("mmpretrain", "image"), ("mmseg", "pixel"), ("mmseg", "region")]


class Searches(Hook):
    """Every search of a run: bank, query, and answer."""

    def __init__(self) -> None:
        self.made: list[tuple[Any, Any, tuple[Context, Context]]] = []
        self.logits: list[torch.Tensor] = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        distiller = toys.hook_of(runner).distiller
        if "step" in vars(distiller):
            return
        retriever = distiller.teacher.memory._retriever
        search, step = retriever.search, distiller.step

        def spy_search(bank: Any, query: Any, *args: Any) -> Any:
            self.made.append((bank, query, search(bank, query, *args)))
            return self.made[-1][2]

        def spy_step(batch: Any, student: Any, *args: Any) -> Any:
            self.logits.append(student.logits.detach().clone())
            return step(batch, student, *args)

        retriever.search, distiller.step = spy_search, spy_step


def searched(cfg: Any) -> tuple[Runner, Searches]:
    runner, hook = build(cfg), Searches()
    runner.register_hook(hook)
    with plain_config_text():
        runner.train()
    return runner, hook


def test_losses_are_those_of_the_pure_functions() -> None:
    weights = dict(kd=0.5, picd=2.0, nicd=3.0)
    losses: dict[str, dict[str, Any]] = {k: dict(loss_weight=v) for k, v in weights.items()}
    runner, hook = searched(toys.classifier().distilled(losses=losses))
    for step, (_, query, (positives, negatives)) in enumerate(hook.made):
        student = hook.logits[step]
        expected = dict(
            loss_kd=0.5 * kd_loss(student, query.logits, 4.0),
            loss_picd=2.0 * picd_loss(student, positives),
            loss_nicd=3.0 * nicd_loss(student, query.logits, negatives),
        )
        for name, value in expected.items():
            assert history(runner, name)[step] == pytest.approx(float(value), rel=1e-5), name
        assert torch.allclose(query.features.norm(dim=1), torch.ones(len(query)), atol=1e-5)


@pytest.mark.parametrize(("scope", "level"), LEVELS)
def test_faiss_run_equals_torch_run(scope: str, level: str) -> None:
    pytest.importorskip("faiss")
    toy = toys.toy(scope)
    reference = run(toy.distilled(level=level))
    runner = run(toy.distilled(level=level, retriever=dict(type="FaissRetriever")))
    for name in (*TERMS, "loss", "picd_valid", "picd_sim", "nicd_sim"):
        np.testing.assert_allclose(history(runner, name), history(reference, name), atol=1e-4)


@pytest.mark.parametrize(("scope", "level"), LEVELS)
def test_chunked_run_equals_the_run_at_once(scope: str, level: str) -> None:
    toy = toys.toy(scope)
    reference = run(toy.distilled(level=level))
    runner = run(toy.distilled(level=level, retriever=dict(chunk_size=3)))
    for name in (*TERMS, "loss"):
        np.testing.assert_allclose(
            history(runner, name), history(reference, name), rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize(("scope", "level"), [LEVELS[0], LEVELS[2]])
def test_bank_queries_ask_by_the_stored_features(scope: str, level: str) -> None:
    _, hook = searched(toys.toy(scope).distilled(level=level, query="bank"))
    assert hook.made
    for bank, query, _ in hook.made:
        labelled = (query.labels >= 0).nonzero()[:, 0].tolist()
        assert labelled
        for i in labelled:
            own = (bank.ids == query.ids[i]) & (bank.labels == query.labels[i])
            assert own.any()
            assert torch.equal(query.features[i], bank.features[own][0].float())


def test_whole_class_as_positives() -> None:
    cfg = toys.classifier().distilled(losses=dict(picd=dict(num_positives=None)))
    runner, hook = searched(cfg)
    for bank, query, (positives, _) in hook.made:
        assert positives.mask.shape == (len(query), bank.max_class_size)
        assert (positives.mask.sum(dim=1) == 5).all()  # six images of each class, less the own
    assert all(v == pytest.approx(5 / 6) for v in history(runner, "picd_valid"))


def test_no_negatives_is_the_cosine_control() -> None:
    cfg = toys.segmenter().distilled(losses=dict(nicd=dict(loss_weight=1.0, num_negatives=0)))
    runner, hook = searched(cfg)
    for _, _, (_, negatives) in hook.made:
        assert negatives.mask.shape[1] == 0
    assert all(0 < v <= 2 / 0.5 for v in history(runner, "loss_nicd"))
    assert history(runner, "nicd_sim") == [0, 0, 0]


def test_more_rows_are_asked_for_than_there_are() -> None:
    losses = dict(picd=dict(num_positives=500), nicd=dict(num_negatives=500))
    runner, hook = searched(toys.classifier().distilled(losses=losses))
    for _, _, (positives, negatives) in hook.made:
        assert (positives.mask.sum(dim=1) == 5).all()
        assert (negatives.mask.sum(dim=1) == 12).all()
    assert all(np.isfinite(history(runner, name)).all() for name in (*TERMS, "loss"))


def test_anchors_bound_the_queries_of_an_image() -> None:
    _, hook = searched(toys.segmenter().distilled(anchors=5))
    for _, query, _ in hook.made:
        assert len(query) == 2 * 5
        _, counts = query.ids.unique(return_counts=True)
        assert (counts == 5).all()


def test_anchors_differ_from_step_to_step_and_repeat_with_the_run() -> None:
    cfg = toys.segmenter().distilled(anchors=4)
    first, second = searched(cfg)[1], searched(cfg)[1]
    for (_, a, _), (_, b, _) in zip(first.made, second.made, strict=True):
        assert torch.equal(a.features, b.features)
    other = searched(toys.segmenter().distilled(anchors=4, bank=dict(seed=1)))[1]
    assert not torch.equal(first.made[0][1].features, other.made[0][1].features)


@pytest.mark.parametrize("term", ["picd", "nicd"])
def test_context_is_searched_only_for_terms_that_count_now(term: str) -> None:
    other = "nicd" if term == "picd" else "picd"
    losses = {term: dict(loss_weight=dict(value=1.0, begin=2)), other: dict()}
    runner, hook = searched(toys.classifier().distilled(losses=losses))
    place = 0 if term == "picd" else 1
    widths = [contexts[place].mask.shape[1] for _, _, contexts in hook.made]
    assert widths[:2] == [0, 0]
    assert widths[2] > 0
    assert [v > 0 for v in history(runner, f"loss_{term}")] == [False, False, True]
    assert all(v > 0 for v in history(runner, f"loss_{other}"))


def test_nothing_is_computed_while_all_weights_are_zero() -> None:
    later = dict(loss_weight=dict(value=1.0, begin=2))
    _, hook = searched(toys.classifier().distilled(losses=dict(kd=later, picd=later, nicd=later)))
    assert len(hook.logits) == 3
    assert len(hook.made) == 1


def test_void_batches_give_zero_and_no_nan() -> None:
    cfg = toys.segmenter().distilled(level=["pixel", "region"])

    class Void(Hook):
        def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
            for sample in data_batch["data_samples"]:
                sample.gt_sem_seg.data.fill_(255)

    runner = build(cfg)
    runner.register_hook(Void())
    with plain_config_text():
        runner.train()
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
