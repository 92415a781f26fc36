"""Codes of findings: when each one is reported, what it means and what to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """Description of a kind of finding.

    Args:
        when: Time or command that reports it.
        meaning: Fact that it reports.
        cure: Advice.
    """

    when: str
    meaning: str
    cure: str


BEFORE = "before training"
BANK = "before training, about the bank"
CHECK = "only by `mmickd check`"
STEPS = "during training"

CODES = {
    "lost_hooks": Code(
        BEFORE,
        "`custom_hooks` of the config replaces hooks of a base config",
        "add the base's hooks to the list, as the text shows",
    ),
    "unused_options": Code(
        BEFORE,
        "options of a frozen bank are set, but the teacher learns",
        "remove them",
    ),
    "mixed_images": Code(
        BEFORE,
        "the data preprocessor mixes images (mixup, cutmix); mixed images have no in-context terms",
        "nothing, if that is intended",
    ),
    "early_weights": Code(
        BEFORE,
        "a teacher that learns is distilled with full weight from the first step",
        "`loss_weight=dict(value=..., warmup=...)`",
    ),
    "bank_image_size": Code(
        BEFORE,
        "the bank reads images of another size than training (sides differ by more than 1.5 times)",
        "set `bank.pipeline` to transforms of the training size",
    ),
    "bank_not_cached": Code(
        BANK,
        "the bank cannot be written to the cache, so the next run builds it again",
        "set `bank.cache_dir` to a folder that can be written, or to None",
    ),
    "teacher_near_chance": Code(
        BANK,
        "the teacher's argmax is hardly better than guessing (less than a tenth of the "
        "way from chance to perfect)",
        "check weights, `reduce_zero_label`, order of classes, normalisation",
    ),
    "few_positives": Code(
        BANK,
        "`num_positives` is more than most classes have rows; in `check`: in the whole bank",
        "set it lower, or `bank.capacity_per_class` higher",
    ),
    "few_negatives": Code(
        BANK,
        "`num_negatives` is more than the bank has rows",
        "set it lower, or `bank.capacity_per_class` higher",
    ),
    "neighbours_near_chance": Code(
        CHECK,
        "the nearest rows predict the class hardly better than chance: the features do "
        "not separate the classes",
        "check weights and normalisation of the teacher",
    ),
    "incomplete_positives": Code(
        CHECK,
        "less than 90 % of the whole bank's rows find all positives",
        "set `num_positives` lower, or `bank.capacity_per_class` or `bank.max_images` higher",
    ),
    "label_issues": Code(
        CHECK,
        "at least 4 % of the labels look wrong: the nearest rows and the teacher's "
        "predictions for them have another class. A teacher that memorised the same "
        "label errors repeats them, and none is detected",
        "run `mmickd gallery` and review the labels",
    ),
    "shifted_labels": Code(
        CHECK,
        "the teacher's argmax is mostly the label minus 1 (or plus 1)",
        "check `reduce_zero_label` and the list of classes",
    ),
    "reordered_classes": Code(
        CHECK,
        "the teacher would be right with the classes in another order",
        "use the teacher's order of classes (`metainfo.classes`, folders)",
    ),
    "one_class": Code(
        CHECK,
        "all rows of the small bank are of one class, so nothing else is judged",
        "set `--images` higher",
    ),
    "strong_gradient": Code(
        CHECK,
        "the gradient of a term is more than 50 times the task's",
        "set its `loss_weight` lower",
    ),
    "weak_gradient": Code(
        CHECK,
        "the gradient of a term is less than a hundredth of the task's",
        "set its `loss_weight` higher, or the term to None",
    ),
    "other_package": Code(
        CHECK,
        "another package logged a warning",
        "what the text says",
    ),
    "run_cannot_begin": Code(
        CHECK,
        "the run stops before its first step (exit code 2)",
        "what the text says",
    ),
    "similar_negatives": Code(
        STEPS,
        "negatives have been more similar to the queries than positives for 1000 iterations",
        "check the teacher, or set `num_positives` lower (docs/start/reading-the- log.md)",
    ),
}
"""Description of each code."""
