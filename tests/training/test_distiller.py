"""One distilled step: forward passes, searches, inputs of the losses, and the loss dict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from mmickd.banks import QueueBank
from mmickd.losses import KDLoss, kd_loss, nicd_loss, picd_loss
from mmickd.losses.base import mean_loss
from mmickd.losses.schedules import TrainProgress
from mmickd.losses.terms import LossTerms
from mmickd.retrieval import TorchRetriever
from mmickd.retrieval.memory import Memory
from mmickd.structures import Batch, Queries, Tapped
from mmickd.tasks import ClassificationTask, SegmentationTask
from mmickd.teachers import PeerStep, Source
from mmickd.training.distiller import Distiller, _weighted_task_losses
from mmickd.utils.errors import ICKDError
from tests.helpers.steps import (
    CLASSES,
    GRID,
    IMAGES,
    WIDTH,
    GivenTeacher,
    RecordingLoss,
    RecordingRetriever,
    bank,
    classified,
    memory,
    only_terms,
    pictures,
    scenes,
    segmented,
    source,
)

NOW = TrainProgress(iteration=2, max_iterations=10, epoch_length=5)
OFF: dict[str, Any] = dict(kd=None, picd=None, nicd=None)


def distiller(
    teacher: GivenTeacher, terms: LossTerms, levels: Sequence[str] = ("image",)
) -> Distiller:
    return Distiller(teacher, terms, levels, anchors=5, seed=0)


def classifying(
    terms: LossTerms, outputs: Tapped | None = None, retriever: TorchRetriever | None = None
) -> Distiller:
    """Return the distiller of a classifier with one source."""
    teacher = GivenTeacher([source(outputs or classified(1), memory(retriever=retriever))])
    return distiller(teacher, terms)


def step(
    distilled: Distiller, student: Tapped | None = None, batch: Batch | None = None, **task: Any
) -> Any:
    return distilled.step(batch or pictures(), student or classified(0), task, NOW)


@pytest.mark.parametrize("count", [1, 3])
def test_losses_are_means_over_the_sources(count: int) -> None:
    student, outputs = classified(0), [classified(1 + i) for i in range(count)]
    teacher = GivenTeacher([source(tapped, memory(i)) for i, tapped in enumerate(outputs)])
    weights = dict(kd=2.0, picd=0.5, nicd=3.0)
    terms = LossTerms.build({name: dict(loss_weight=value) for name, value in weights.items()})
    result = step(distiller(teacher, terms), student)

    values: dict[str, list[Tensor]] = {name: [] for name in (*weights, "sim")}
    for i, tapped in enumerate(outputs):
        view = ClassificationTask().view(tapped, pictures(), student)
        positives, negatives = TorchRetriever().search(bank(i), view.samples(), 16, 32)
        values["kd"].append(kd_loss(student.logits, tapped.logits))
        values["picd"].append(picd_loss(student.logits, positives))
        values["nicd"].append(nicd_loss(student.logits, tapped.logits, negatives))
        values["sim"].append(positives.similarity.sum() / positives.mask.sum())
    means = {name: float(sum(tensors)) / count for name, tensors in values.items()}
    for name, weight in weights.items():
        assert float(result[f"loss_{name}"]) == pytest.approx(weight * means[name], rel=1e-5)
    assert float(result["picd_sim"]) == pytest.approx(means["sim"], rel=1e-5)
    assert set(result) == {f"loss_{n}" for n in weights} | {"picd_valid", "picd_sim", "nicd_sim"}


def test_gradients_reach_the_student_alone() -> None:
    student, teacher = classified(0, gradient=True), classified(1, gradient=True)
    result = step(classifying(LossTerms.build(None), teacher), student)
    for name in ("loss_kd", "loss_picd", "loss_nicd"):
        (gradient,) = torch.autograd.grad(result[name], student.logits, retain_graph=True)
        assert gradient.abs().sum() > 0
    assert torch.autograd.grad(result["loss_nicd"], teacher.logits, allow_unused=True) == (None,)
    assert not any(value.requires_grad for name, value in result.items() if "loss" not in name)


def test_losses_do_not_depend_on_the_precision_of_the_step() -> None:
    distilled = classifying(LossTerms.build(None))
    expected = step(distilled)
    with torch.autocast("cpu", torch.bfloat16):
        result = step(distilled)
    assert result.keys() == expected.keys()
    assert all(torch.equal(result[name], value) for name, value in expected.items())


def test_peers_get_their_losses() -> None:
    student, peer = classified(0), classified(1)
    calls: list[dict[str, Any]] = []
    peer_step = PeerStep(
        outputs=peer,
        task_losses=dict(loss=torch.tensor(7.0), accuracy=torch.tensor(50.0)),
        terms=LossTerms.build(dict(OFF, kd=dict(loss_weight=3.0, divergence="reverse"))),
        sources=[source(student, memory())],
        learn=calls.append,
    )
    teacher = GivenTeacher([source(peer, memory())], [peer_step])
    terms = LossTerms.build(dict(OFF, kd=dict(loss_weight=2.0)))
    result = step(distiller(teacher, terms), student, loss=torch.tensor(5.0))
    (losses,) = calls
    reverse = mean_loss(KDLoss(divergence="reverse"), Queries(peer.logits, student.logits))
    assert float(losses["loss_kd"]) == pytest.approx(3 * float(reverse), rel=1e-6)
    assert float(losses["loss_ce"]) == 7.0 and float(losses["accuracy"]) == 50.0
    forward = kd_loss(student.logits, peer.logits)
    assert float(result["loss_kd"]) == pytest.approx(2 * float(forward), rel=1e-6)
    assert float(result["loss_ce"]) == 5.0 and set(result) == {"loss_kd", "loss_ce"}


def test_without_a_source_only_the_tasks_losses_count() -> None:
    """The first epoch of PS-KD has no source."""
    complement = dict(kd=dict(loss_weight=0.75), task=dict(loss_weight="complement"))
    head = torch.tensor(5.0)
    result = step(distiller(GivenTeacher([]), LossTerms.build(complement)), loss=head)
    assert result["loss_ce"] is head
    for name in ("kd", "picd", "nicd"):
        assert float(result[f"loss_{name}"]) == 0.0
    assert len(result) == 4
    result = step(classifying(LossTerms.build(complement)), loss=head)
    assert float(result["loss_ce"]) == 0.25 * 5.0 and float(result["loss_kd"]) > 0


def test_terms_with_weight_0_run_no_network_and_no_search() -> None:
    def fail() -> Tapped:
        pytest.fail("the teacher ran")

    retriever, later = RecordingRetriever(), dict(loss_weight=dict(value=1.0, begin=3))
    unused = Source(ClassificationTask(), memory(retriever=retriever), fail)
    terms = LossTerms.build(dict(kd=later, picd=later, nicd=dict(loss_weight=0)))
    result = step(distiller(GivenTeacher([unused]), terms))
    assert [float(result[f"loss_{name}"]) for name in ("kd", "picd", "nicd")] == [0, 0, 0]
    assert retriever.searches == []


def test_each_loss_gets_the_rows_that_it_requests_from_one_search() -> None:
    losses = RecordingLoss(1, 0), RecordingLoss(0, 0), RecordingLoss(3, 4)
    retriever = RecordingRetriever()
    step(classifying(only_terms(*losses), retriever=retriever))
    ((query, *counts, exclude),) = retriever.searches
    assert counts == [3, 4] and exclude is True
    contexts = [(loss.queries[0].positives, loss.queries[0].negatives) for loss in losses]
    assert [(p.mask.shape[1], n.mask.shape[1]) for p, n in contexts] == [(1, 0), (0, 0), (3, 4)]
    (few, _), _, (many, _) = contexts
    assert torch.equal(few.indices, many.indices[:, :1])  # the nearest
    assert torch.equal(many.logits, bank().logits[many.indices])
    queries = losses[2].queries[0]
    assert torch.equal(queries.features, query.features)
    assert torch.allclose(queries.features.norm(dim=1), torch.ones(IMAGES))
    assert torch.equal(queries.teacher_logits, classified(1).logits)
    assert torch.equal(queries.student_logits, classified(0).logits)
    assert torch.equal(queries.student_features, classified(0).features)
    assert queries.labels.tolist() == [0, 1, 2, 0] and bool(queries.valid.all())
    assert queries.shape == (IMAGES, 1)


def test_a_loss_of_whole_classes_does_not_widen_the_context_of_another() -> None:
    every, two = RecordingLoss(None, 0), RecordingLoss(2, 1)
    retriever = RecordingRetriever()
    step(classifying(only_terms(every, two), retriever=retriever))
    assert [counts for _, *counts, _ in retriever.searches] == [[None, 1]]
    assert every.queries[0].positives.mask.shape[1] == bank().max_class_size > 2
    assert every.queries[0].negatives.mask.shape[1] == 0
    assert two.queries[0].positives.mask.shape[1] == 2


def segmenting(terms: LossTerms, *levels: str, retriever: Any = None) -> Distiller:
    """Return the distiller of a segmenter with one source."""
    memory = Memory({level: bank() for level in levels}, retriever or TorchRetriever())
    outputs = segmented(1)
    teacher = GivenTeacher([Source(SegmentationTask(), memory, lambda: outputs)])
    return distiller(teacher, terms, levels)


def test_all_locations_are_queries_of_dense_losses() -> None:
    dense, locations = RecordingLoss(is_dense=True), GRID[0] * GRID[1]
    result = step(segmenting(only_terms(dense), "pixel"), segmented(0), scenes())
    (queries,) = dense.queries
    assert queries.shape == (2, locations)
    view = SegmentationTask().view(segmented(1), scenes(), segmented(0))
    assert torch.equal(queries.student_logits, view.student_logits.flatten(0, 1))
    assert torch.equal(queries.teacher_logits, view.logits.flatten(0, 1))
    assert torch.equal(queries.labels, view.labels.flatten())
    assert torch.equal(queries.student_features, view.student_features().flatten(0, 1))
    assert torch.equal(queries.features, view.samples().features)
    assert queries.valid.view(2, locations).sum(dim=1).tolist() == [locations // 2, locations]
    assert queries.positives.mask.shape == queries.negatives.mask.shape == (2 * locations, 0)
    expected = queries.student_logits.sum(dim=1)[queries.valid].mean()  # void cells do not count
    assert float(result["loss_a"]) == pytest.approx(float(expected), rel=1e-5)


def test_images_are_queries_of_a_classifiers_dense_losses() -> None:
    dense = RecordingLoss(is_dense=True)
    step(classifying(only_terms(dense)))
    assert dense.queries[0].shape == (IMAGES, 1)


def test_two_levels_have_two_names() -> None:
    retriever, terms = RecordingRetriever(), LossTerms.build(dict(nicd=None))
    result = step(segmenting(terms, "pixel", "region", retriever=retriever), segmented(0), scenes())
    assert set(result) == {
        "loss_kd",
        *(f"{name}_{at}" for at in ("pixel", "region") for name in ("loss_picd", "picd_valid")),
        *(f"picd_sim_{at}" for at in ("pixel", "region")),
    }
    pixels, regions = (queries for queries, *_ in retriever.searches)
    assert len(pixels) == 2 * 5 and len(regions) == 2 * CLASSES  # anchors; a slot of each class
    alone = step(segmenting(terms, "region"), segmented(0), scenes())
    expected = pytest.approx(float(result["loss_picd_region"]), rel=1e-6)
    assert float(alone["loss_picd"]) == expected


def test_terms_with_weight_0_are_logged() -> None:
    """A column of the log must not begin in the middle of the run."""
    terms = LossTerms.build({name: dict(loss_weight=0) for name in OFF})
    names = set(step(segmenting(terms, "pixel", "region"), segmented(0), scenes()))
    full = set(step(segmenting(LossTerms.build(None), "pixel", "region"), segmented(0), scenes()))
    assert names == {name for name in full if name.startswith("loss_")}


def test_memory_outputs_query_the_memory_and_outputs_are_for_dense_losses() -> None:
    """Momentum encoders fill the queues, so they query them too."""
    outputs, memory_outputs = classified(1), classified(2)
    dense, sparse = RecordingLoss(is_dense=True), RecordingLoss(1, 1)
    retriever = RecordingRetriever()
    teacher = source(outputs, memory(retriever=retriever), memory_outputs=lambda: memory_outputs)
    step(distiller(GivenTeacher([teacher]), only_terms(dense, sparse)))
    assert torch.equal(dense.queries[0].teacher_logits, outputs.logits)
    assert torch.equal(sparse.queries[0].teacher_logits, memory_outputs.logits)
    normalised = torch.nn.functional.normalize(memory_outputs.features, dim=1)
    assert torch.equal(retriever.searches[0][0].features, normalised)


@pytest.mark.parametrize("needed", ["outputs", "memory_outputs"])
def test_only_the_needed_network_of_a_source_runs(needed: str) -> None:
    calls: list[str] = []

    def network(name: str) -> Callable[[], Tapped]:
        def forward() -> Tapped:
            calls.append(name)
            return classified(1)

        return forward

    loss = RecordingLoss(is_dense=True) if needed == "outputs" else RecordingLoss(1, 1)
    networks = network("outputs"), network("memory_outputs")
    teacher = Source(ClassificationTask(), memory(), *networks)
    step(distiller(GivenTeacher([teacher]), only_terms(loss)))
    assert calls == [needed]


@pytest.mark.parametrize(
    ("returned", "shape"),
    [
        (lambda q: q.student_logits.sum(), r"\(\)"),
        (lambda q: q.student_logits, r"\(4, 3\)"),
        (lambda q: q.student_logits[1:, 0], r"\(3,\)"),
        (lambda q: q.student_logits[:, :1], r"\(4, 1\)"),
    ],
)
def test_a_loss_that_returns_another_shape_is_refused(
    returned: Callable[[Queries], Tensor], shape: str
) -> None:
    class Wrong(RecordingLoss):
        def forward(self, queries: Queries) -> Tensor:
            return returned(queries)

    with pytest.raises(ICKDError, match=rf"losses\.a: Wrong returns {shape} for 4 queries"):
        step(classifying(only_terms(Wrong(1, 0))))


def test_mixed_images_count_for_dense_losses_alone() -> None:
    """Mixed images have no class, hence no context."""
    batch, dense, sparse = pictures(), RecordingLoss(is_dense=True), RecordingLoss(1, 1)
    batch.data_samples[1].set_gt_score(torch.tensor([0.4, 0.6, 0.0]))
    result = step(classifying(only_terms(dense, sparse)), batch=batch)
    assert sparse.queries[0].labels.tolist() == [0, -1, 2, 0]
    assert sparse.queries[0].valid.tolist() == [True, False, True, True]
    sums = classified(0).logits.sum(dim=1)
    assert float(result["loss_a"]) == pytest.approx(float(sums.mean()), rel=1e-5)
    assert float(result["loss_b"]) == pytest.approx(float(sums[[0, 2, 3]].mean()), rel=1e-5)


def test_queries_that_do_not_count_may_hold_anything() -> None:
    class Broken(RecordingLoss):
        def forward(self, queries: Queries) -> Tensor:
            return super().forward(queries).masked_fill(~self.counted(queries), torch.nan)

        def counted(self, queries: Queries) -> Tensor:
            return queries.valid & (queries.labels == 0)

    result = step(classifying(only_terms(Broken())))
    expected = classified(0).logits.sum(dim=1)[[0, 3]].mean()
    assert float(result["loss_a"]) == pytest.approx(float(expected))


def test_weight_1_keeps_the_tasks_losses_bit_for_bit_and_others_scale_them() -> None:
    head = torch.tensor(1.25)
    result = _weighted_task_losses(dict(loss=head, acc=torch.tensor(50.0)), 1.0)
    assert result["loss_ce"] is head and "loss" not in result
    several = {"decode.loss_ce": [torch.tensor(1.0), torch.tensor(2.0)], "decode.acc_seg": head}
    scaled = _weighted_task_losses(several, 0.5)
    assert [float(x) for x in scaled["decode.loss_ce"]] == [0.5, 1.0]
    assert scaled["decode.acc_seg"] is head


def test_a_term_must_not_have_the_name_of_a_loss_of_the_model() -> None:
    distilled = classifying(only_terms(RecordingLoss(is_dense=True)))
    with pytest.raises(ICKDError, match="already has a loss 'loss_a'"):
        step(distilled, loss_a=torch.tensor(1.0))
    assert set(step(distilled, loss_b=torch.tensor(1.0))) >= {"loss_a", "loss_b"}


def test_the_weight_of_the_task_is_not_that_of_distillation() -> None:
    terms = only_terms(RecordingLoss(is_dense=True), task=0.5)
    result = step(classifying(terms), loss=torch.tensor(8.0))
    assert float(result["loss_ce"]) == 4.0
    mean = classified(0).logits.sum(dim=1).mean()
    assert float(result["loss_a"]) == pytest.approx(float(mean), rel=1e-6)


@pytest.mark.parametrize("ends_epoch", [True, False])
def test_after_a_step_memories_are_fed_before_the_teacher_learns(ends_epoch: bool) -> None:
    queue = QueueBank(CLASSES, 8, WIDTH)
    queued = Memory({"image": queue}, TorchRetriever())
    teacher = GivenTeacher([source(classified(1), queued)])
    distilled, student = distiller(teacher, LossTerms.build(None)), torch.nn.Module()
    step(distilled)
    assert int(queue.counts.sum()) == 0
    assert distilled.after_step(student, ends_epoch) == {"pace": torch.tensor(0.5)}
    assert teacher.calls[1:] == [("after_step", student, ends_epoch, [IMAGES])]


def test_the_teacher_gets_the_batch_and_the_outputs_of_the_student() -> None:
    teacher, batch, student = GivenTeacher([]), pictures(), classified(0)
    step(distiller(teacher, LossTerms.build(None)), student, batch)
    assert teacher.calls == [("forward", batch, student)]


def test_the_time_of_all_searches_is_collected_once() -> None:
    teacher = GivenTeacher([source(classified(1 + i), memory(i)) for i in range(2)])
    distilled = distiller(teacher, LossTerms.build(None))
    step(distilled)
    assert distilled.retrieval_seconds() > 0 and distilled.retrieval_seconds() == 0


def test_a_loss_that_is_not_finite_is_reported() -> None:
    class Overflowing(RecordingLoss):
        def forward(self, queries: Queries) -> Tensor:
            return super().forward(queries) * torch.inf

    distilled = classifying(only_terms(RecordingLoss(is_dense=True), Overflowing()))
    step(distilled)
    with pytest.raises(
        ICKDError, match=r"^loss_b not finite .* in iteration 3 \(images: 0\.png, 1"
    ):
        distilled.nan_guard.check()


def test_a_teachers_nan_is_reported_even_if_the_losses_are_finite() -> None:
    """The mean leaves the query out, but its gradient is NaN."""
    student, teacher, batch = classified(0, gradient=True), classified(1), pictures()
    teacher.logits[1] = torch.nan
    batch.data_samples[1].set_gt_score(torch.tensor([0.4, 0.6, 0.0]))
    distilled = classifying(LossTerms.build(dict(kd=None, picd=None)), teacher)
    result = step(distilled, student, batch)
    (gradient,) = torch.autograd.grad(result["loss_nicd"], student.logits)
    assert torch.isfinite(result["loss_nicd"]) and not torch.isfinite(gradient).all()
    with pytest.raises(ICKDError, match=r"^teacher_logits not finite"):
        distilled.nan_guard.check()


def test_terms_with_weight_0_are_not_checked_for_nan() -> None:
    teacher = classified(1)
    teacher.logits[1] = torch.nan
    distilled = classifying(LossTerms.build({name: dict(loss_weight=0) for name in OFF}), teacher)
    step(distilled)
    distilled.nan_guard.check()


def test_losses_of_peers_are_checked_for_nan() -> None:
    student, peer = classified(0), classified(1)
    student.logits[0, 0] = torch.inf
    terms = only_terms(RecordingLoss(is_dense=True))
    sources = [source(student, memory())]
    peer_step = PeerStep(peer, {}, terms, sources, lambda _: None, "peer7")
    distilled = distiller(GivenTeacher([], [peer_step]), only_terms(RecordingLoss(is_dense=True)))
    step(distilled, student)
    with pytest.raises(ICKDError, match=r"^peer7\.teacher_logits not finite"):
        distilled.nan_guard.check()


def test_weights_that_change_are_logged() -> None:
    growing = dict(value=1.0, warmup=4)
    terms = LossTerms.build(dict(kd=dict(loss_weight=growing), task=dict(loss_weight="complement")))
    other = LossTerms.build(dict(kd=dict(loss_weight=3.0), nicd=dict(loss_weight=growing)))
    teacher = source(classified(1), Memory({}, TorchRetriever()))

    def logged(sources: Sequence[Source], *terms_of_peers: LossTerms) -> dict[str, Any]:
        peers = [
            PeerStep(classified(2), {}, of_peer, [teacher], lambda _: None)
            for of_peer in terms_of_peers
        ]
        distilled = distiller(GivenTeacher(sources, peers), terms)
        step(distilled)
        scalars = distilled.after_step(torch.nn.Module(), False)
        return {name: value for name, value in scalars.items() if "weight" in name}

    half = {"kd_weight": 0.5, "task_weight": 0.5}
    assert logged([teacher]) == half
    assert logged([teacher], terms) == half
    assert logged([teacher], other) == {**half, "peer.nicd_weight": 0.5}
    assert logged([]) == {"kd_weight": 0.0, "task_weight": 1.0}  # no source yet


def test_similarities_that_can_be_compared() -> None:
    terms = LossTerms.build(dict(kd=None, both=dict(type="PICDLoss", num_positives=None)))
    assert segmenting(terms, "pixel").similarities == [("picd_sim", "nicd_sim")]
    assert segmenting(terms, "pixel", "region").similarities == [
        ("picd_sim_pixel", "nicd_sim_pixel"),
        ("picd_sim_region", "nicd_sim_region"),
    ]
    assert classifying(only_terms(RecordingLoss(2, 1))).similarities == [("a_sim", "a_neg_sim")]
    assert classifying(LossTerms.build(dict(picd=None))).similarities == []
