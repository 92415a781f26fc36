"""What was found, for scripts."""

from __future__ import annotations

from typing import Any

from mmickd.commands.checking.report import CheckReport, FrozenBankReport
from mmickd.commands.checking.trial_steps import LossGradient


def as_json(found: CheckReport) -> dict[str, Any]:
    """Plain values; the keys are told in docs/checking.md."""
    levels = {level: _level(one) for level, one in found.frozen.items()}
    queues = found.queues.values()
    first = next(iter(levels.values()), {})
    steps = found.steps
    teachers = [{"features": f, "logits": z} for f, z in steps.teachers]
    return {
        "layers": {
            "student": {
                "name": found.student_layer,
                "features": steps.student[0],
                "logits": steps.student[1],
            },
            "teacher": {"name": found.teacher_layers, "sources": teachers},
        },
        "classes": found.classes,
        "images": found.images
        and {
            "number": found.images.number,
            "taken": found.images.taken,
            "pipeline": found.images.pipeline,
        },
        "bank": {
            "rows": sum(one["rows"] for one in levels.values()) + sum(map(len, queues)),
            "bytes": sum(one["bytes"] for one in levels.values()) + sum(q.nbytes for q in queues),
            "knn_accuracy": first.get("knn_accuracy"),
            "complete": first.get("complete"),
            "levels": levels,
        },
        "teacher": {
            "frozen": found.options.teacher.is_frozen,
            "agreement": found.agreement,
            "class_agreement": found.class_agreement,
        },
        "task": _pull(steps.task),
        "terms": {name: _pull(pull) for name, pull in steps.terms.items()},
        "seconds": steps.seconds,
        "warnings": found.warnings,
        "notes": found.notes,
    }


def _level(one: FrozenBankReport) -> dict[str, Any]:
    return {
        "rows": one.size.rows,
        "bytes": one.size.nbytes,
        "exact": one.size.is_exact,
        "rows_per_class": one.size.rows_per_class.tolist(),
        "complete": one.complete,
        "knn_accuracy": one.report.knn_accuracy,
        "wrong_labels": one.wrong_labels,
        "sample": {"rows": len(one.sampled), "rows_per_class": one.sampled.offsets.diff().tolist()},
    }


def _pull(pull: LossGradient) -> dict[str, float | None]:
    return {"value": pull.value, "weight": pull.weight, "gradient": pull.gradient}
