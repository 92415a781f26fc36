"""Running a network once on a sample, before training, to see that it can and where it ends."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from mmickd.finiteness import check_finite
from mmickd.taps import Tap, evaluating, find_classifier
from mmickd.utils.errors import ICKDError
from mmickd.utils.modules import is_sharded

CHECK_WEIGHTS = "Check the weights that it begins with (init_cfg, load_from)."


def batch_of(sample: dict[str, Any]) -> dict[str, Any]:
    """One packed sample as a collated batch; preprocessors may change it, so it is a copy."""
    return {
        "inputs": [sample["inputs"].clone()],
        "data_samples": [copy.deepcopy(sample["data_samples"])],
    }


@contextmanager
def explained(owner: str, sample: dict[str, Any], remedy: str) -> Iterator[None]:
    """Say what is wrong if a network cannot run on a packed sample.

    Raises:
        ICKDError: for whatever the network raises inside.
    """
    try:
        yield
    except ICKDError:
        raise
    except Exception as error:  # whatever a network raises on an input that it cannot take
        shape = "x".join(str(n) for n in sample["inputs"].shape[-2:])
        raise ICKDError(
            f"{owner} cannot run on a training image of {shape} pixels "
            f"({type(error).__name__}: {str(error)[:200]}). {remedy}"
        ) from error


def probe_network(
    model: nn.Module,
    layer: str,
    usual: Sequence[str],
    sample: dict[str, Any],
    owner: str = "the student",
    option: str = "layer",
) -> tuple[str, int]:
    """Name and width of a training network's classifier layer, after one pass of it in eval.

    A sharded model (FSDP) cannot run from here: it gets by with the usual names, or an explicit
    one.

    Args:
        model: unwrapped.
        layer: its name; 'auto' finds it.
        usual: see :func:`~mmickd.taps.find_classifier`.
        sample: packed.
        owner: whose network it is, for messages.
        option: the option that names the layer, for messages.

    Raises:
        ICKDError: if the layer is not found or does not run, or the network gives NaN or Inf.
    """
    sharded = is_sharded(model)

    def run() -> Any:
        if sharded:
            raise ICKDError(
                "the student is sharded (FSDP), so it cannot run once to find its classifier layer "
                "before training: set the hook's layer to the layer that gives the logits."
            )
        data = model.data_preprocessor(batch_of(sample), False)  # type: ignore[operator]
        values = data if isinstance(data, Mapping) else {"inputs": data[0]}
        return model(values["inputs"], mode="tensor")

    if layer == "auto":
        layer = find_classifier(model, run, usual, owner, option)
    tap = Tap(model, layer)
    try:
        num_classes = tap.num_classes
        if not sharded:
            with evaluating(model), torch.no_grad():
                tapped = tap.read(run, owner, option)
            check_finite(tapped, [sample["data_samples"]], owner, CHECK_WEIGHTS)
        return layer, num_classes
    finally:
        tap.close()
