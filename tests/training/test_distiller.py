"""One step: who is asked what, how often, and what becomes of the answers."""

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
from mmickd.training.distiller import Distiller, _of_task
from mmickd.utils.errors import ICKDError
from tests.helpers.steps import (
    CLASSES,
    GRID,
    IMAGES,
    WIDTH,
    GivenTeacher,
    Shown,
    Watched,
    bank,
    classified,
    memory,
    only,
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


def taught(terms: LossTerms, said: Tapped | None = None) -> Distiller:
    """The step of a classifier with one source."""
    return distiller(GivenTeacher([source(said or classified(1), memory())]), terms)


def step(made: Distiller, student: Tapped, batch: Batch | None = None, **task: Any) -> Any:
    return made.step(batch or pictures(), student, task, NOW)


@pytest.mark.parametrize("count", [1, 3])
def test_losses_are_means_over_the_sources(count: int) -> None:
    student, said = classified(0), [classified(1 + i) for i in range(count)]
    teacher = GivenTeacher([source(one, memory(i)) for i, one in enumerate(said)])
    weights = dict(kd=2.0, picd=0.5, nicd=3.0)
    terms = LossTerms.build({name: dict(loss_weight=value) for name, value in weights.items()})
    got = step(distiller(teacher, terms), student)

    want: dict[str, list[Tensor]] = {name: [] for name in (*weights, "sim")}
    for i, one in enumerate(said):
        view = ClassificationTask().view(one, pictures(), student)
        positives, negatives = TorchRetriever().search(bank(i), view.samples(), 16, 32)
        want["kd"].append(kd_loss(student.logits, one.logits))
        want["picd"].append(picd_loss(student.logits, positives))
        want["nicd"].append(nicd_loss(student.logits, one.logits, negatives))
        want["sim"].append(positives.similarity.sum() / positives.mask.sum())
    means = {name: float(sum(values)) / count for name, values in want.items()}
    for name, weight in weights.items():
        assert float(got[f"loss_{name}"]) == pytest.approx(weight * means[name], rel=1e-5)
    assert float(got["picd_sim"]) == pytest.approx(means["sim"], rel=1e-5)
    assert set(got) == {f"loss_{n}" for n in weights} | {"picd_valid", "picd_sim", "nicd_sim"}


def test_gradients_reach_the_student_alone() -> None:
    student, said = classified(0, gradient=True), classified(1, gradient=True)
    got = step(distiller(GivenTeacher([source(said, memory())]), LossTerms.build(None)), student)
    for name in ("loss_kd", "loss_picd", "loss_nicd"):
        (gradient,) = torch.autograd.grad(got[name], student.logits, retain_graph=True)
        assert gradient.abs().sum() > 0
    assert torch.autograd.grad(got["loss_nicd"], said.logits, allow_unused=True) == (None,)
    assert not any(value.requires_grad for name, value in got.items() if "loss" not in name)


def test_losses_do_not_depend_on_the_precision_of_the_step() -> None:
    made = taught(LossTerms.build(None))
    want = step(made, classified(0))
    with torch.autocast("cpu", torch.bfloat16):
        got = step(made, classified(0))
    assert got.keys() == want.keys()
    assert all(torch.equal(got[name], value) for name, value in want.items())


def test_networks_of_the_teachers_own_get_their_losses() -> None:
    student, peer = classified(0), classified(1)
    learnt: list[dict[str, Any]] = []
    lesson = PeerStep(
        outputs=peer,
        task_losses=dict(loss=torch.tensor(7.0), accuracy=torch.tensor(50.0)),
        terms=LossTerms.build(dict(OFF, kd=dict(loss_weight=3.0, divergence="reverse"))),
        sources=[source(student, memory())],
        learn=learnt.append,
    )
    teacher = GivenTeacher([source(peer, memory())], [lesson])
    terms = LossTerms.build(dict(OFF, kd=dict(loss_weight=2.0)))
    got = step(distiller(teacher, terms), student, loss=torch.tensor(5.0))
    (own,) = learnt
    reverse = mean_loss(KDLoss(divergence="reverse"), Queries(peer.logits, student.logits))
    assert float(own["loss_kd"]) == pytest.approx(3 * float(reverse), rel=1e-6)
    assert float(own["loss_ce"]) == 7.0 and float(own["accuracy"]) == 50.0
    forward = kd_loss(student.logits, peer.logits)
    assert float(got["loss_kd"]) == pytest.approx(2 * float(forward), rel=1e-6)
    assert float(got["loss_ce"]) == 5.0 and set(got) == {"loss_kd", "loss_ce"}


def test_with_nobody_to_learn_from_the_task_is_all_there_is() -> None:
    """As in the first epoch of PS-KD."""
    complement = dict(kd=dict(loss_weight=0.75), task=dict(loss_weight="complement"))
    head = torch.tensor(5.0)
    got = step(distiller(GivenTeacher([]), LossTerms.build(complement)), classified(0), loss=head)
    assert got["loss_ce"] is head
    for name in ("kd", "picd", "nicd"):
        assert float(got[f"loss_{name}"]) == 0.0
    assert len(got) == 4
    got = step(taught(LossTerms.build(complement)), classified(0), loss=head)
    assert float(got["loss_ce"]) == 0.25 * 5.0 and float(got["loss_kd"]) > 0


def test_what_has_no_weight_now_is_neither_asked_nor_searched_for() -> None:
    def say() -> Tapped:
        pytest.fail("the teacher was asked")

    retriever, later = Watched(), dict(loss_weight=dict(value=1.0, begin=3))
    asleep = Source(ClassificationTask(), memory(retriever=retriever), say)
    terms = LossTerms.build(dict(kd=later, picd=later, nicd=dict(loss_weight=0)))
    got = step(distiller(GivenTeacher([asleep]), terms), classified(0))
    assert [float(got[f"loss_{name}"]) for name in ("kd", "picd", "nicd")] == [0, 0, 0]
    assert retriever.asked == []


def test_each_loss_gets_the_rows_that_it_wants_from_one_search() -> None:
    one, none, more = Shown(1, 0), Shown(0, 0), Shown(3, 4)
    retriever = Watched()
    teacher = GivenTeacher([source(classified(1), memory(retriever=retriever))])
    step(distiller(teacher, only(one, none, more)), classified(0))
    ((query, *wanted, exclude),) = retriever.asked
    assert wanted == [3, 4] and exclude is True
    widths = [
        (shown.positives, shown.negatives) for (shown,) in (one.queries, none.queries, more.queries)
    ]
    assert [(p.mask.shape[1], n.mask.shape[1]) for p, n in widths] == [(1, 0), (0, 0), (3, 4)]
    (few, _), _, (many, _) = widths
    assert torch.equal(few.indices, many.indices[:, :1])  # the nearest
    assert torch.equal(many.logits, bank().logits[many.indices])
    shown = more.queries[0]
    assert torch.equal(shown.features, query.features)
    assert torch.allclose(shown.features.norm(dim=1), torch.ones(IMAGES))
    assert torch.equal(shown.teacher_logits, classified(1).logits)
    assert torch.equal(shown.student_logits, classified(0).logits)
    assert torch.equal(shown.student_features, classified(0).features)
    assert shown.labels.tolist() == [0, 1, 2, 0] and bool(shown.valid.all())
    assert shown.shape == (IMAGES, 1)


def test_who_wants_the_whole_class_does_not_widen_what_others_get() -> None:
    every, two = Shown(None, 0), Shown(2, 1)
    retriever = Watched()
    teacher = GivenTeacher([source(classified(1), memory(retriever=retriever))])
    step(distiller(teacher, only(every, two)), classified(0))
    assert [asked[1:3] for asked in retriever.asked] == [(None, 1)]
    assert every.queries[0].positives.mask.shape[1] == bank().max_class_size > 2
    assert every.queries[0].negatives.mask.shape[1] == 0
    assert two.queries[0].positives.mask.shape[1] == 2


def segmenting(terms: LossTerms, *levels: str, retriever: Any = None) -> Distiller:
    """The step of a segmenter with one source."""
    memory = Memory({level: bank() for level in levels}, retriever or TorchRetriever())
    said = segmented(1)
    teacher = GivenTeacher([Source(SegmentationTask(), memory, lambda: said)])
    return distiller(teacher, terms, levels)


def test_dense_losses_are_asked_at_every_location() -> None:
    dense, locations = Shown(is_dense=True), GRID[0] * GRID[1]
    got = step(segmenting(only(dense), "pixel"), segmented(0), scenes())
    (shown,) = dense.queries
    assert shown.shape == (2, locations) and shown.student_logits.shape == (2 * locations, CLASSES)
    view = SegmentationTask().view(segmented(1), scenes(), segmented(0))
    assert torch.equal(shown.student_logits.view(2, locations, CLASSES), view.student_logits)
    assert torch.equal(shown.teacher_logits.view(2, locations, CLASSES), view.logits)
    assert torch.equal(shown.labels.view(2, locations), view.labels)
    assert torch.equal(shown.student_features, view.student_features().flatten(0, 1))
    assert torch.equal(shown.features, view.samples().features)
    assert shown.valid.view(2, locations).sum(dim=1).tolist() == [locations // 2, locations]
    assert shown.positives.mask.shape == shown.negatives.mask.shape == (2 * locations, 0)
    want = shown.student_logits.sum(dim=1)[shown.valid].mean()  # void cells do not count
    assert float(got["loss_a"]) == pytest.approx(float(want), rel=1e-5)


def test_dense_losses_of_a_classifier_are_asked_once_an_image() -> None:
    dense = Shown(is_dense=True)
    step(taught(only(dense)), classified(0))
    assert dense.queries[0].shape == (IMAGES, 1)


def test_two_levels_are_told_apart_by_name() -> None:
    retriever, terms = Watched(), LossTerms.build(dict(nicd=None))
    got = step(segmenting(terms, "pixel", "region", retriever=retriever), segmented(0), scenes())
    assert set(got) == {
        "loss_kd",
        *(f"{name}_{at}" for at in ("pixel", "region") for name in ("loss_picd", "picd_valid")),
        *(f"picd_sim_{at}" for at in ("pixel", "region")),
    }
    pixels, regions = (asked[0] for asked in retriever.asked)
    assert len(pixels) == 2 * 5 and len(regions) == 2 * CLASSES  # anchors; a slot of each class
    alone = step(segmenting(terms, "region"), segmented(0), scenes())
    assert float(alone["loss_picd"]) == pytest.approx(float(got["loss_picd_region"]), rel=1e-6)


def test_names_are_the_same_while_nothing_counts() -> None:
    """Else a column of the log would begin in the middle of the run."""
    terms = LossTerms.build({name: dict(loss_weight=0) for name in OFF})
    names = set(step(segmenting(terms, "pixel", "region"), segmented(0), scenes()))
    full = set(step(segmenting(LossTerms.build(None), "pixel", "region"), segmented(0), scenes()))
    assert names == {name for name in full if name.startswith("loss_")}


def test_a_memory_is_asked_about_what_recalls_and_dense_losses_about_the_answer() -> None:
    """As with momentum encoders, of which the queues are."""
    said, recalled, dense, sparse = classified(1), classified(2), Shown(is_dense=True), Shown(1, 1)
    retriever = Watched()
    one = source(said, memory(retriever=retriever), memory_outputs=lambda: recalled)
    step(distiller(GivenTeacher([one]), only(dense, sparse)), classified(0))
    assert torch.equal(dense.queries[0].teacher_logits, said.logits)
    assert torch.equal(sparse.queries[0].teacher_logits, recalled.logits)
    normalised = torch.nn.functional.normalize(recalled.features, dim=1)
    assert torch.equal(retriever.asked[0][0].features, normalised)


@pytest.mark.parametrize("wanted", ["answer", "recall"])
def test_only_what_is_needed_of_a_source_runs(wanted: str) -> None:
    ran: list[str] = []

    def saying(name: str) -> Callable[[], Tapped]:
        def say() -> Tapped:
            ran.append(name)
            return classified(1)

        return say

    loss = Shown(is_dense=True) if wanted == "answer" else Shown(1, 1)
    one = Source(ClassificationTask(), memory(), saying("answer"), saying("recall"))
    step(distiller(GivenTeacher([one]), only(loss)), classified(0))
    assert ran == [wanted]


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
    class Wrong(Shown):
        def forward(self, queries: Queries) -> Tensor:
            return returned(queries)

    made = taught(only(Wrong(1, 0)))
    with pytest.raises(ICKDError, match=rf"losses\.a: Wrong gives {shape} for 4 queries: forward"):
        step(made, classified(0))


def test_mixed_images_count_for_dense_losses_alone() -> None:
    """They have no class, hence no context."""
    batch, dense, sparse = pictures(), Shown(is_dense=True), Shown(1, 1)
    batch.data_samples[1].set_gt_score(torch.tensor([0.4, 0.6, 0.0]))
    got = step(taught(only(dense, sparse)), classified(0), batch)
    assert sparse.queries[0].labels.tolist() == [0, -1, 2, 0]
    assert sparse.queries[0].valid.tolist() == [True, False, True, True]
    sums = classified(0).logits.sum(dim=1)
    assert float(got["loss_a"]) == pytest.approx(float(sums.mean()), rel=1e-5)
    assert float(got["loss_b"]) == pytest.approx(float(sums[[0, 2, 3]].mean()), rel=1e-5)


def test_queries_that_do_not_count_may_hold_anything() -> None:
    class Sick(Shown):
        def forward(self, queries: Queries) -> Tensor:
            return super().forward(queries).masked_fill(~self.counted(queries), torch.nan)

        def counted(self, queries: Queries) -> Tensor:
            return queries.valid & (queries.labels == 0)

    got = step(
        distiller(GivenTeacher([source(classified(1), memory())]), only(Sick())), classified(0)
    )
    want = classified(0).logits.sum(dim=1)[[0, 3]].mean()
    assert float(got["loss_a"]) == pytest.approx(float(want))


def test_the_task_keeps_its_losses_bit_for_bit_and_other_weights_scale_losses_only() -> None:
    head = torch.tensor(1.25)
    found = dict(loss=head, acc=torch.tensor(50.0))
    joined = _of_task(found, 1.0)
    assert joined["loss_ce"] is head and "loss" not in joined
    several = {"decode.loss_ce": [torch.tensor(1.0), torch.tensor(2.0)], "decode.acc_seg": head}
    scaled = _of_task(several, 0.5)
    assert [float(x) for x in scaled["decode.loss_ce"]] == [0.5, 1.0]
    assert scaled["decode.acc_seg"] is head


def test_a_term_never_takes_the_name_of_a_loss_of_the_models_own() -> None:
    made = taught(only(Shown(is_dense=True)))
    with pytest.raises(ICKDError, match="'loss_a' of its own: give the term of losses"):
        step(made, classified(0), loss_a=torch.tensor(1.0))
    assert set(step(made, classified(0), loss_b=torch.tensor(1.0))) >= {"loss_a", "loss_b"}


def test_the_weight_of_the_task_is_not_that_of_distillation() -> None:
    terms = only(Shown(is_dense=True), task=0.5)
    got = step(taught(terms), classified(0), loss=torch.tensor(8.0))
    assert float(got["loss_ce"]) == 4.0
    mean = classified(0).logits.sum(dim=1).mean()
    assert float(got["loss_a"]) == pytest.approx(float(mean), rel=1e-6)


@pytest.mark.parametrize("ends_epoch", [True, False])
def test_after_a_step_memories_are_fed_before_the_teacher_learns(ends_epoch: bool) -> None:
    queue = QueueBank(CLASSES, 8, WIDTH)
    fed = Memory({"image": queue}, TorchRetriever())
    teacher = GivenTeacher([source(classified(1), fed)])
    made, student = distiller(teacher, LossTerms.build(None)), torch.nn.Module()
    step(made, classified(0))
    assert int(queue.counts.sum()) == 0
    assert made.after_step(student, ends_epoch) == {"pace": torch.tensor(0.5)}
    assert teacher.calls[1:] == [("after_step", student, ends_epoch, [IMAGES])]


def test_the_teacher_sees_the_batch_and_what_the_student_says() -> None:
    teacher, batch, student = GivenTeacher([]), pictures(), classified(0)
    step(distiller(teacher, LossTerms.build(None)), student, batch)
    ((name, seen, said),) = teacher.calls
    assert name == "see" and seen is batch and said is student


def test_the_time_of_all_memories_is_added_up_and_told_once() -> None:
    teacher = GivenTeacher([source(classified(1 + i), memory(i)) for i in range(2)])
    made = distiller(teacher, LossTerms.build(None))
    step(made, classified(0))
    assert made.retrieval_seconds() > 0 and made.retrieval_seconds() == 0


def test_a_loss_that_is_not_finite_is_found() -> None:
    class Overflowing(Shown):
        def forward(self, queries: Queries) -> Tensor:
            return super().forward(queries) * torch.inf

    made = taught(only(Shown(is_dense=True), Overflowing()))
    step(made, classified(0))
    with pytest.raises(
        ICKDError, match=r"^loss_b not finite .* in iteration 3 \(images: 0\.png, 1"
    ):
        made.watch.check()


def test_a_teachers_nan_is_found_where_no_loss_shows_it() -> None:
    """The mean leaves the query out, its gradient is NaN all the same."""
    student, sick, batch = classified(0, gradient=True), classified(1), pictures()
    sick.logits[1] = torch.nan
    batch.data_samples[1].set_gt_score(torch.tensor([0.4, 0.6, 0.0]))
    made = taught(LossTerms.build(dict(kd=None, picd=None)), sick)
    got = step(made, student, batch)
    (gradient,) = torch.autograd.grad(got["loss_nicd"], student.logits)
    assert torch.isfinite(got["loss_nicd"]) and not torch.isfinite(gradient).all()
    with pytest.raises(ICKDError, match=r"^teacher_logits not finite"):
        made.watch.check()


def test_what_is_not_asked_is_not_watched() -> None:
    sick = classified(1)
    sick.logits[1] = torch.nan
    made = taught(LossTerms.build({name: dict(loss_weight=0) for name in OFF}), sick)
    step(made, classified(0))
    made.watch.check()


def test_losses_of_networks_of_the_teachers_own_are_watched() -> None:
    student, peer = classified(0), classified(1)
    student.logits[0, 0] = torch.inf
    lesson = PeerStep(
        peer, {}, only(Shown(is_dense=True)), [source(student, memory())], lambda _: None, "peer7"
    )
    made = distiller(GivenTeacher([], [lesson]), only(Shown(is_dense=True)))
    step(made, student)
    with pytest.raises(ICKDError, match=r"^peer7\.teacher_logits not finite"):
        made.watch.check()


def test_weights_that_change_are_logged() -> None:
    growing = dict(value=1.0, warmup=4)
    terms = LossTerms.build(dict(kd=dict(loss_weight=growing), task=dict(loss_weight="complement")))
    other = LossTerms.build(dict(kd=dict(loss_weight=3.0), nicd=dict(loss_weight=growing)))

    def logged(sources: Sequence[Source], *lessons: PeerStep) -> dict[str, Any]:
        made = distiller(GivenTeacher(sources, lessons), terms)
        step(made, classified(0))
        found = made.after_step(torch.nn.Module(), False)
        return {name: value for name, value in found.items() if "weight" in name}

    one = source(classified(1), Memory({}, TorchRetriever()))
    half = {"kd_weight": 0.5, "task_weight": 0.5}
    assert logged([one]) == half
    assert logged([one], PeerStep(classified(2), {}, terms, [one], lambda _: None)) == half
    lesson = PeerStep(classified(2), {}, other, [one], lambda _: None)
    assert logged([one], lesson) == {**half, "peer.nicd_weight": 0.5}
    assert logged([]) == {"kd_weight": 0.0, "task_weight": 1.0}  # nobody to learn from yet


def test_similarities_that_can_be_compared() -> None:
    terms = LossTerms.build(dict(kd=None, both=dict(type="PICDLoss", num_positives=None)))
    assert segmenting(terms, "pixel").similarities == [("picd_sim", "nicd_sim")]
    assert segmenting(terms, "pixel", "region").similarities == [
        ("picd_sim_pixel", "nicd_sim_pixel"),
        ("picd_sim_region", "nicd_sim_region"),
    ]
    assert taught(only(Shown(2, 1))).similarities == [("a_sim", "a_neg_sim")]
    assert taught(LossTerms.build(dict(picd=None))).similarities == []
