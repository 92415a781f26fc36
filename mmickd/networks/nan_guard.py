"""NaN guard: it rejects NaN and Inf before training, and detects them in a step without a sync."""

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
"""Iteration number of a value that has always been finite."""
STEPS_KEPT = 1000
"""Steps whose image names are kept between two checks."""
MAX_IMAGES_NAMED = 8
"""Maximum number of images of a step that a message names."""
CHECK_TEACHER = "Check its checkpoint (diverged?) and, if teacher.dtype is fp16, try bf16 or fp32."


def image_name(data_sample: Any) -> str:
    """Return the name of an image for messages: its path, else its index in the data set."""
    meta = data_sample.metainfo
    return str(meta.get("img_path") or f"sample {meta.get('sample_idx')}")


def check_finite(
    tapped: Tapped, data_samples: Sequence[Any], owner: str, remedy: str = CHECK_TEACHER
) -> None:
    """Raise an error if features or logits are NaN or Inf; synchronises the host.

    Args:
        tapped: Features and logits of a batch.
        data_samples: Data samples of the batch.
        owner: Name of the network, for the message.
        remedy: Advice at the end of the message.

    Raises:
        ICKDError: With the first image that has such values.
    """
    for name, values in (("features", tapped.features), ("logits", tapped.logits)):
        finite = torch.isfinite(values.float()).flatten(1).all(dim=1)
        if not bool(finite.all()):
            image = image_name(data_samples[int((~finite).nonzero()[0])])
            raise ICKDError(f"{owner} outputs NaN or Inf {name} for {image}. {remedy}")


class NanGuard:
    """Device-side record of the first iteration in which each value was NaN or Inf.

    :meth:`note` records without host synchronisation, and a later :meth:`check` raises. By then the
    optimizer has made its step with these values: the weights are lost, but they were not saved.

    Example:
        >>> from types import SimpleNamespace
        >>> guard = NanGuard()
        >>> guard.begin_step(6, [SimpleNamespace(metainfo=dict(img_path="a.png"))])
        >>> guard.note({"loss_kd": torch.tensor(torch.inf)})
        >>> try:
        ...     guard.check()
        ... except ICKDError as error:
        ...     print(str(error).partition(". ")[0])
        loss_kd not finite (NaN or Inf) in iteration 7 (images: a.png)
    """

    def __init__(self) -> None:
        self._iteration = 0
        self._images: deque[tuple[int, list[str]]] = deque(maxlen=STEPS_KEPT)
        self._first: dict[tuple[str, ...], Tensor] = {}

    def begin_step(self, iteration: int, data_samples: Sequence[Any]) -> None:
        """Record the iteration and the names of its images, for the message."""
        self._iteration = iteration
        names = [image_name(sample) for sample in islice(data_samples, MAX_IMAGES_NAMED)]
        unnamed = len(data_samples) - len(names)
        self._images.append((iteration, names + ([f"{unnamed} more"] if unnamed else [])))

    def note(self, values: Mapping[str, Tensor]) -> None:
        """Record which values are not finite; no host synchronisation.

        Args:
            values: Scalars by name, with the same names in the same order on every rank.
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
        """Raise if a value was not finite on any rank; synchronises the host.

        Args:
            alone: True checks this rank only; otherwise all ranks must call this together.

        Raises:
            ICKDError: On every rank, with the first iteration in which a value was not finite.
        """
        if not self._first:
            return
        local_firsts = torch.cat(list(self._first.values()))
        firsts = local_firsts.clone()
        if not alone:
            dist.all_reduce(firsts, op="min")
        iterations = firsts.tolist()
        iteration = min(iterations)
        if iteration == NEVER:
            self._images.clear()
            return
        names = [name for key in self._first for name in key]
        bad_names = [name for name, i in zip(names, iterations, strict=True) if i == iteration]
        is_local = int(local_firsts.min()) == iteration
        images = dict(self._images).get(iteration, []) if is_local else []
        if not alone:
            images = [image for part in dist.all_gather_object(images) for image in part]
        raise ICKDError(
            f"{', '.join(bad_names)} not finite (NaN or Inf) in iteration {iteration + 1}"
            f"{' (images: ' + ', '.join(images) + ')' if images else ''}. No checkpoint was saved "
            "since then. Try teacher.dtype='fp32' (fp16 overflows), a smaller learning rate or "
            "loss_weight, or optim_wrapper.clip_grad, and resume from the last checkpoint."
        )
