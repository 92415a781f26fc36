"""What a task adapter makes of a batch: every location of every image, in one shape."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class View:
    """A batch seen by teacher (and student) at ``L`` locations per image.

    An image of a classifier is one location; a pixel of a segmenter's logits grid is one.

    Args:
        features: ``(B, L, D)``; the teacher's features, not normalised.
        logits: ``(B, L, C)``; the teacher's.
        labels: ``(B, L)`` int64; -1 where a location has no class (void, padding, mixed image).
        valid: ``(B, L)`` bool; where vanilla KD applies.
        ids: ``(B,)`` int64; the images.
        student_logits: ``(B, L, C)``; None while a bank is built.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor
    valid: Tensor
    ids: Tensor
    student_logits: Tensor | None = None

    @property
    def num_classes(self) -> int:
        """``C``."""
        return self.logits.shape[2]
