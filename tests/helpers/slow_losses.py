"""Losses as plain loops over floats, written from the formulas, without code of mmickd."""

from __future__ import annotations

import math
from typing import Any

Row = list[float]


def softmax(row: Row, temperature: float) -> Row:
    top = max(row)
    powers = [math.exp((x - top) / temperature) for x in row]
    return [p / sum(powers) for p in powers]


def kl(p: Row, q: Row) -> float:
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True) if a > 0)


def mean(values: Row) -> float:
    return sum(values) / len(values) if values else 0.0


def entropy(p: Row) -> float:
    return -sum(x * math.log(x) for x in p if x > 0)


def balanced(ps: Row, pt: Row, emphasis: float) -> float:
    if entropy(ps) > entropy(pt):  # the student is less certain: sharpen it
        return kl(pt, ps) + emphasis * kl(ps, pt)
    return emphasis * kl(pt, ps) + kl(ps, pt)


def kd(
    student: list[Row],
    teacher: list[Row],
    t: float,
    valid: list[bool] | None = None,
    divergence: str = "forward",
    emphasis: float = 2.0,
) -> float:
    values = []
    for i, (zs, zt) in enumerate(zip(student, teacher, strict=True)):
        if valid is None or valid[i]:
            ps, pt = softmax(zs, t), softmax(zt, t)
            d = {
                "forward": kl(pt, ps),
                "reverse": kl(ps, pt),
                "balanced": balanced(ps, pt, emphasis),
            }
            values.append(t * t * d[divergence])
    return mean(values)


def standardized(row: Row) -> Row:
    middle = mean(row)
    deviation = math.sqrt(sum((x - middle) ** 2 for x in row) / (len(row) - 1))
    return [(x - middle) / deviation for x in row]


def dkd(
    student: list[Row], teacher: list[Row], labels: list[int], alpha: float, beta: float, t: float
) -> float:
    values = []
    for zs, zt, y in zip(student, teacher, labels, strict=True):
        if y < 0:
            continue
        ps, pt = softmax(zs, t), softmax(zt, t)
        target = kl([pt[y], 1 - pt[y]], [ps[y], 1 - ps[y]])
        rest = kl(softmax(zt[:y] + zt[y + 1 :], t), softmax(zs[:y] + zs[y + 1 :], t))
        values.append(t * t * (alpha * target + beta * rest))
    return mean(values)


def correlation(a: Row, b: Row) -> float:
    a, b = centred(a), centred(b)
    sizes = math.sqrt(dot(a, a) * dot(b, b))
    return dot(a, b) / sizes if sizes else 0.0


def dist(
    student: list[Row], teacher: list[Row], valid: list[bool], beta: float, gamma: float, t: float
) -> float:
    rows = [
        (softmax(zs, t), softmax(zt, t))
        for zs, zt, is_valid in zip(student, teacher, valid, strict=True)
        if is_valid
    ]
    inter = 1 - mean([correlation(ps, pt) for ps, pt in rows])
    classes = range(len(student[0]))
    columns = [([ps[c] for ps, _ in rows], [pt[c] for _, pt in rows]) for c in classes]
    intra = 1 - mean([correlation(*column) for column in columns])
    return t * t * (beta * inter + gamma * intra)


def pld(student: list[Row], teacher: list[Row], labels: list[int], t: float) -> float:
    values = []
    for zs, zt, y in zip(student, teacher, labels, strict=True):
        if y < 0:
            continue
        order = [y, *sorted((c for c in range(len(zt)) if c != y), key=lambda c: -zt[c])]
        weights, value = softmax(zt, t), 0.0
        while order:
            value -= weights[order[0]] * math.log(softmax([zs[c] for c in order], 1.0)[0])
            order = order[1:]
        values.append(value)
    return mean(values)


def wttm(student: list[Row], teacher: list[Row], t: float) -> float:
    values = []
    for zs, zt in zip(student, teacher, strict=True):
        powers = [p ** (1 / t) for p in softmax(zt, 1.0)]
        transformed = [p / sum(powers) for p in powers]
        values.append(sum(powers) * kl(transformed, softmax(zs, 1.0)))
    return mean(values)


def cwd(
    student: list[list[Row]], teacher: list[list[Row]], valid: list[list[bool]], t: float
) -> float:
    values = []
    for zs, zt, mask in zip(student, teacher, valid, strict=True):
        kept = [place for place, is_valid in enumerate(mask) if is_valid]
        if kept:
            classes = range(len(zs[0]))
            maps = [([zt[i][c] for i in kept], [zs[i][c] for i in kept]) for c in classes]
            values.append(t * t * mean([kl(softmax(a, t), softmax(b, t)) for a, b in maps]))
    return mean(values)


def picd(
    student: list[Row],
    similarity: list[Row],
    logits: list[list[Row]],
    mask: list[list[bool]],
    t: float,
    tau: float,
) -> float:
    values = []
    for zs, sims, rows, valid in zip(student, similarity, logits, mask, strict=True):
        kept = [k for k, is_valid in enumerate(valid) if is_valid]
        if not kept:
            continue
        weights = softmax([sims[k] / tau for k in kept], 1.0)
        target = [0.0] * len(zs)
        for weight, k in zip(weights, kept, strict=True):
            for c, p in enumerate(softmax(rows[k], t)):
                target[c] += weight * p
        values.append(t * t * kl(target, softmax(zs, t)))
    return mean(values)


def context_kd(
    student: list[Row],
    teacher: list[Row],
    similarity: list[Row],
    rows: list[list[Row]],
    mix: float,
    t: float,
    tau: float,
) -> float:
    values = []
    for zs, zt, sims, near in zip(student, teacher, similarity, rows, strict=True):
        target = softmax(zt, t)
        if near:
            weights, predictions = softmax(sims, tau), [softmax(z, t) for z in near]
            columns = zip(*predictions, strict=True)
            neighbours = [dot(weights, list(column)) for column in columns]
            target = [(1 - mix) * a + mix * b for a, b in zip(target, neighbours, strict=True)]
        values.append(t * t * kl(target, softmax(zs, t)))
    return mean(values)


def centred(row: Row) -> Row:
    middle = sum(row) / len(row)
    return [x - middle for x in row]


def dot(a: Row, b: Row) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def unit(row: Row) -> Row:
    row = centred(row)
    return [x / math.sqrt(dot(row, row)) for x in row]


def floored(row: Row) -> Row:
    row = centred(row)
    return [x / math.sqrt(dot(row, row) + 1.0) for x in row]


def nearest(positives: Any, negatives: Any, count: int, field: str = "logits") -> list[list[Any]]:
    """Return a field of the ``count`` most similar valid rows of both contexts, by query."""
    result = []
    for q in range(len(positives.mask)):
        rows = [
            (-float(context.similarity[q, k]), getattr(context, field)[q, k].tolist())
            for context in (positives, negatives)
            for k in range(context.mask.shape[1])
            if context.mask[q, k]
        ]
        result.append([value for _, value in sorted(rows, key=lambda row: row[0])[:count]])
    return result


def relational(
    student: list[Row], teacher: list[Row], rows: list[list[Row]], t: float, t_teacher: float
) -> float:
    values = []
    for zs, zt, near in zip(student, teacher, rows, strict=True):
        if near:
            of_student = softmax([dot(floored(zs), unit(z)) for z in near], t)
            of_teacher = softmax([dot(unit(zt), unit(z)) for z in near], t_teacher)
            values.append(kl(of_teacher, of_student))
    return mean(values)


def nicd(
    student: list[Row],
    teacher: list[Row],
    logits: list[list[Row]],
    mask: list[list[bool]],
    t: float,
) -> float:
    values = []
    for zs, zt, rows, valid in zip(student, teacher, logits, mask, strict=True):
        kept = [n for n, is_valid in enumerate(valid) if is_valid]
        if not kept:
            continue
        q = floored(zs)
        positive = dot(q, unit(zt)) / t
        scores = [positive] + [dot(q, unit(rows[n])) / t for n in kept]
        values.append(math.log(sum(math.exp(s) for s in scores)) - positive)
    return mean(values)


def nicd_control(student: list[Row], teacher: list[Row], t: float) -> float:
    pairs = zip(student, teacher, strict=True)
    return mean([(1.0 - dot(floored(zs), unit(zt))) / t for zs, zt in pairs])
