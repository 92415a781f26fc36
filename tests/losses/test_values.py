"""Losses against slow loops written from the formulas, and against numbers worked out by hand."""

import math

import pytest
import torch

from mmickd.losses import KDLoss, NICDLoss, PICDLoss, kd_loss, nicd_loss, picd_loss
from mmickd.losses.picd import aggregate_positives
from mmickd.structures import Context
from tests.helpers import slow_losses as slow
from tests.helpers.asking import mean_of, queries

CASES = [(1, 2, 1), (5, 3, 4), (7, 10, 3)]  # Q, C, K
HALVES = [torch.float16, torch.bfloat16]


def rows_of(asked):
    return asked.student_logits, asked.teacher_logits


def tensors(q, c, k, seed=0, dtype=torch.float64, scale=2.0):
    """Student, teacher, context; about a third of the context is masked, query 0 entirely."""
    g = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, q, c, generator=g, dtype=dtype) * scale
    mask = torch.rand(q, k, generator=g) > 0.35
    if q > 1:
        mask[0] = False
    mask[-1, :1] = True
    context = Context(
        similarity=torch.rand(q, k, generator=g, dtype=dtype) * 2 - 1,
        logits=torch.randn(q, k, c, generator=g, dtype=dtype) * scale,
        mask=mask,
        indices=torch.where(mask, 0, -1),
    )
    return student, teacher, context


@pytest.mark.parametrize("shape", CASES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kd_equals_loop(shape, temperature):
    student, teacher, _ = tensors(*shape)
    want = slow.kd(student.tolist(), teacher.tolist(), temperature)
    assert float(kd_loss(student, teacher, temperature)) == pytest.approx(want, rel=1e-12)
    own = mean_of(KDLoss(temperature), queries(student, teacher))
    assert float(own) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("shape", CASES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("emphasis", [1.0, 2.0, 3.5])
@pytest.mark.parametrize("divergence", ["forward", "reverse", "balanced"])
def test_divergences_equal_loop(shape, temperature, emphasis, divergence):
    student, teacher, _ = tensors(*shape)
    valid = torch.arange(shape[0]) % 3 != 1
    rows = student.tolist(), teacher.tolist()
    want = slow.kd(*rows, temperature, valid.tolist(), divergence, emphasis)
    loss = KDLoss(temperature, divergence, emphasis)
    asked = queries(student, teacher, valid=valid)
    assert float(mean_of(loss, asked)) == pytest.approx(want, rel=1e-12)
    given = kd_loss(*rows_of(asked), temperature, valid, divergence, emphasis)
    assert float(given) == pytest.approx(want, rel=1e-12)


def test_balanced_emphasises_by_the_gap_of_the_entropies():
    """A case by hand: one student less sure than its teacher, one surer."""
    unsure, sure = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3.0), 0.0]])
    forward = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    backward = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    found = kd_loss(unsure, sure, 1.0, divergence="balanced", emphasis=5.0)
    assert float(found) == pytest.approx(forward + 5 * backward, rel=1e-6)
    found = kd_loss(sure, unsure, 1.0, divergence="balanced", emphasis=5.0)
    assert float(found) == pytest.approx(5 * backward + forward, rel=1e-6)


def test_kd_counts_valid_queries_only():
    student, teacher, _ = tensors(6, 4, 1)
    valid = torch.tensor([True, False, True, False, False, True])
    student[1] = torch.nan  # a row that does not count may hold anything
    want = slow.kd(student.tolist(), teacher.tolist(), 4.0, valid.tolist())
    assert float(kd_loss(student, teacher, valid=valid)) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("shape", CASES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("tau", [0.05, 0.1, 1.0])
def test_picd_equals_loop(shape, temperature, tau):
    student, _, context = tensors(*shape)
    want = slow.picd(
        student.tolist(),
        context.similarity.tolist(),
        context.logits.tolist(),
        context.mask.tolist(),
        temperature,
        tau,
    )
    assert float(picd_loss(student, context, temperature, tau)) == pytest.approx(want, rel=1e-10)
    own = mean_of(PICDLoss(temperature, tau), queries(student, student, context))
    assert float(own) == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("shape", CASES)
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nicd_equals_loop(shape, temperature):
    student, teacher, context = tensors(*shape)
    want = slow.nicd(
        student.tolist(),
        teacher.tolist(),
        context.logits.tolist(),
        context.mask.tolist(),
        temperature,
    )
    assert float(nicd_loss(student, teacher, context, temperature)) == pytest.approx(
        want, rel=1e-10
    )
    own = mean_of(NICDLoss(temperature), queries(student, teacher, negatives=context))
    assert float(own) == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_nicd_without_negatives_is_the_cosine_control(temperature):
    student, teacher, context = tensors(5, 4, 0)
    want = slow.nicd_control(student.tolist(), teacher.tolist(), temperature)
    assert float(nicd_loss(student, teacher, context, temperature)) == pytest.approx(want)


def test_nicd_valid_leaves_out_queries_with_and_without_negatives():
    student, teacher, context = tensors(5, 4, 3)
    valid = torch.tensor([True, True, False, False, True])
    keep = valid.nonzero()[:, 0]
    own = Context(*(getattr(context, n)[keep] for n in ("similarity", "logits", "mask", "indices")))
    want = nicd_loss(student[keep], teacher[keep], own)
    assert torch.allclose(nicd_loss(student, teacher, context, valid=valid), want)
    asked = queries(student, teacher, negatives=context, valid=valid)
    assert torch.allclose(mean_of(NICDLoss(), asked), want)

    none = tensors(5, 4, 0)[2]
    want = slow.nicd_control(student[keep].tolist(), teacher[keep].tolist(), 0.5)
    assert float(nicd_loss(student, teacher, none, valid=valid)) == pytest.approx(want)
    control = mean_of(NICDLoss(num_negatives=0), queries(student, teacher, valid=valid))
    assert float(control) == pytest.approx(want)


def test_infinite_similarity_temperature_gives_equal_weights():
    student, _, context = tensors(6, 5, 4)
    flat = Context(
        torch.zeros_like(context.similarity), context.logits, context.mask, context.indices
    )
    want = picd_loss(student, flat, sim_temperature=0.1)
    assert torch.allclose(picd_loss(student, context, sim_temperature=math.inf), want)
    assert torch.allclose(picd_loss(student, context, sim_temperature=1e9), want)


def test_small_similarity_temperature_takes_the_nearest_alone():
    _, _, context = tensors(6, 5, 4)
    target = aggregate_positives(context, 1.0, 1e-6)
    scores = context.similarity.masked_fill(~context.mask, -math.inf)
    for i in context.mask.any(1).nonzero()[:, 0].tolist():
        nearest = context.logits[i, scores[i].argmax()].softmax(0)
        assert torch.allclose(target[i], nearest, atol=1e-9)


def test_what_lies_under_the_mask_changes_nothing():
    student, teacher, context = tensors(7, 4, 5)
    hidden = ~context.mask
    other = Context(
        context.similarity.masked_fill(hidden, 1e6),
        context.logits.masked_fill(hidden[..., None], 77.0),
        context.mask,
        context.indices,
    )
    assert torch.equal(picd_loss(student, context), picd_loss(student, other))
    assert torch.equal(nicd_loss(student, teacher, context), nicd_loss(student, teacher, other))


def test_golden_kd():
    # p = (e^2, 1) / (e^2 + 1), q = (1/2, 1/2): KL = ln 2 - H(p) = 0.3278...
    student, teacher = torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 0.0]])
    assert float(kd_loss(student, teacher, 1.0)) == pytest.approx(0.3278, abs=1e-4)
    p = math.exp(0.5) / (math.exp(0.5) + 1)  # T = 4
    want = 16 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    assert float(kd_loss(student, teacher)) == pytest.approx(want, abs=1e-6)


def test_golden_picd():
    # Weights e^1 and e^0 over two one-hot-like rows: 0.7311, 0.2689. Student undecided.
    context = Context(
        similarity=torch.tensor([[0.1, 0.0]]),
        logits=torch.tensor([[[100.0, 0.0], [0.0, 100.0]]]),
        mask=torch.ones(1, 2, dtype=torch.bool),
        indices=torch.zeros(1, 2, dtype=torch.long),
    )
    # KL((.7311, .2689) || (.5, .5)) = ln 2 - H = 0.6931 - 0.5822
    assert float(picd_loss(torch.zeros(1, 2), context)) == pytest.approx(0.1109, abs=1e-4)


def test_golden_nicd():
    # cen(z^s) = (1, -1), q = (1, -1) / sqrt 3; u_i = (1, -1) / sqrt 2, u_n = -u_i.
    # q.u_i = sqrt(2/3) = 0.8165; T = 0.5: ln(1 + exp(-4 * 0.8165)) = 0.03744
    student = teacher = torch.tensor([[2.0, 0.0]])
    context = Context(
        similarity=torch.ones(1, 1),
        logits=torch.tensor([[[0.0, 3.0]]]),
        mask=torch.ones(1, 1, dtype=torch.bool),
        indices=torch.zeros(1, 1, dtype=torch.long),
    )
    assert float(nicd_loss(student, teacher, context)) == pytest.approx(0.03744, abs=1e-5)
    nothing = Context(*(t[:, :0] for t in vars(context).values()))
    # (1 - 0.8165) / 0.5
    assert float(nicd_loss(student, teacher, nothing)) == pytest.approx(0.36701, abs=1e-5)


@pytest.mark.parametrize("half", HALVES)
def test_half_precision_is_computed_in_float32(half):
    student, teacher, context = tensors(6, 5, 4, dtype=torch.float32, scale=3.0)
    student, teacher = student.to(half), teacher.to(half)
    context = Context(
        context.similarity.to(half), context.logits.to(half), context.mask, context.indices
    )
    wide = Context(
        context.similarity.float(), context.logits.float(), context.mask, context.indices
    )
    pairs = [
        (kd_loss(student, teacher), kd_loss(student.float(), teacher.float())),
        (picd_loss(student, context), picd_loss(student.float(), wide)),
        (
            nicd_loss(student, teacher, context),
            nicd_loss(student.float(), teacher.float(), wide),
        ),
    ]
    for got, want in pairs:
        assert got.dtype == torch.float32
        assert torch.equal(got, want)  # the inputs are rounded, the computation is not


def test_mixed_precision_of_the_parts():
    """A float64 student with a float32 context (the bank's), and the other way around."""
    student, teacher, context = tensors(5, 4, 3)
    narrow = Context(
        context.similarity.float(), context.logits.float(), context.mask, context.indices
    )
    assert torch.allclose(picd_loss(student, narrow), picd_loss(student, context), rtol=1e-5)
    assert torch.allclose(
        nicd_loss(student, teacher, narrow), nicd_loss(student, teacher, context), rtol=1e-5
    )
    assert picd_loss(student.half(), narrow).dtype == torch.float32
