"""NaN and Inf: refused before training, noticed in it without stopping the host."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from mmengine import dist
from torch import Tensor

from mmickd.structures import Tapped
from mmickd.utils.errors import ICKDError

NEVER = 2**62
"""The iteration of what has not happened."""
STEPS_KEPT = 1000
"""Steps since the last look whose images are known by name."""
IMAGES_NAMED = 8
"""Images of a step that a message names."""
CHECK_TEACHER = "Check its checkpoint (diverged?) and, if teacher.dtype is fp16, try bf16 or fp32."


def image_name(data_sample: Any) -> str:
    """Name of an image for messages: its path, else its place in the data set."""
    meta = data_sample.metainfo
    return str(meta.get("img_path") or f"sample {meta.get('sample_idx')}")


def check_finite(
    tapped: Tapped, data_samples: Sequence[Any], owner: str, remedy: str = CHECK_TEACHER
) -> None:
    """Refuse a network whose features or logits are NaN or Inf; the host waits for the answer.

    Args:
        tapped: of a batch.
        data_samples: of the batch.
        owner: whose network it is, for the message.
        remedy: what to do, for the message.

    Raises:
        ICKDError: with the first image for which they are.
    """
    for what, values in (("features", tapped.features), ("logits", tapped.logits)):
        finite = torch.isfinite(values.float()).flatten(1).all(dim=1)
        if not bool(finite.all()):
            name = image_name(data_samples[int((~finite).nonzero()[0])])
            raise ICKDError(f"{owner} gives NaN or Inf {what} for {name}. {remedy}")


class NanGuard:
    """Notes on the device at which iteration a value was NaN or Inf for the first time.

    A step only notes; :meth:`check` is the look at it. As ``backward`` and the optimizer have run
    by then, what was trained is lost, but nothing of it is saved.

    Example:
        >>> from types import SimpleNamespace
        >>> watch = NanGuard()
        >>> watch.begin_step(6, [SimpleNamespace(metainfo=dict(img_path="a.png"))])
        >>> watch.note({"loss_kd": torch.tensor(torch.inf)})
        >>> try:
        ...     watch.check()
        ... except ICKDError as error:
        ...     print(str(error).partition(". ")[0])
        loss_kd not finite (NaN or Inf) in iteration 7 (images: a.png)
    """

    def __init__(self) -> None:
        self._iteration = 0
        self._images: deque[tuple[int, list[str]]] = deque(maxlen=STEPS_KEPT)
        self._first: dict[tuple[str, ...], Tensor] = {}

    def begin_step(self, iteration: int, data_samples: Sequence[Any]) -> None:
        """Remember which images a step is about."""
        self._iteration = iteration
        names = [image_name(sample) for sample in islice(data_samples, IMAGES_NAMED)]
        left = len(data_samples) - len(names)
        self._images.append((iteration, names + ([f"{left} more"] if left else [])))

    def note(self, values: Mapping[str, Tensor]) -> None:
        """Note where a value is not finite; no host synchronisation.

        Args:
            values: scalars by name, the same names in the same order on every rank.
        """
        if not values:
            return
        key = tuple(values)
        finite = torch.stack([value.detach().float() for value in values.values()]).isfinite()
        first = self._first.get(key)
        if first is None:
            first = torch.full((len(key),), NEVER, device=finite.device)
        self._first[key] = torch.where(finite, first, first.clamp(max=self._iteration))

    def check(self, alone: bool = False) -> None:
        """Look at what was noted on all ranks, which call this together; the host waits for it.

        Args:
            alone: look at this rank only.

        Raises:
            ICKDError: on every rank, with the first iteration at which a value was not finite.
        """
        if not self._first:
            return
        own = torch.cat(list(self._first.values()))
        firsts = own.clone()
        if not alone:
            dist.all_reduce(firsts, op="min")
        iterations = firsts.tolist()
        iteration = min(iterations)
        if iteration == NEVER:
            self._images.clear()
            return
        names = [name for key in self._first for name in key]
        bad = [name for name, at in zip(names, iterations, strict=True) if at == iteration]
        images = dict(self._images).get(iteration, []) if int(own.min()) == iteration else []
        if not alone:
            images = [one for of_rank in dist.all_gather_object(images) for one in of_rank]
        raise ICKDError(
            f"{', '.join(bad)} not finite (NaN or Inf) in iteration {iteration + 1}"
            f"{' (images: ' + ', '.join(images) + ')' if images else ''}. What was trained since "
            "then is not saved. Try teacher.dtype='fp32' (fp16 overflows), a smaller learning rate "
            "or loss_weight, or optim_wrapper.clip_grad, and resume from the last checkpoint."
        )
