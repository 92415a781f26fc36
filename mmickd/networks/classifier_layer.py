"""Which layer of a model is its classifier: the one whose output is what the model returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.networks.taps import LEAVES, evaluating, leaf_names, out_width, require_layer
from mmickd.utils.errors import ICKDError
from mmickd.utils.modules import get_module

Outputs = Mapping[str, Sequence[Tensor]]
"""By the name of a layer, what it gave, once for each time it ran."""
MOST_AVERAGED = 5
"""Layers of the logits' shape that are tried for a mean."""


def find_classifier(
    model: nn.Module,
    run: Callable[[], Any],
    usual: Sequence[str],
    owner: str,
    option: str,
    layer: str = "auto",
) -> str:
    """Name of the layer whose output is the model's.

    A model that returns several tensors has it if the layer gives one of them. The names of the
    common heads are tried before all other layers.

    Args:
        model: any model.
        run: runs ``model`` with ``mode='tensor'`` and returns its output; it is called in eval mode
            without gradients.
        usual: names that models of its kind have, see :meth:`mmickd.tasks.Task.classifier_names`.
        owner: 'the teacher', 'the student' or 'peer 0', for the message.
        option: the option that names the layer, for the message.
        layer: the value of that option; 'auto' looks for the layer, a name is checked.

    Raises:
        ICKDError: if no layer, or several, could be it, or the named one is not it.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> find_classifier(model, lambda: model(torch.zeros(1, 4)), (), "the student", "layer")
        '2'
    """
    if layer == "auto":
        names = usual_layers(model, usual)
    else:
        out_width(require_layer(model, layer))
        names = [layer]
    if names:
        found = _givers(*_trace(model, run, names))
        if found:
            return found[0]
    outputs, results = _trace(model, run, leaf_names(model))
    found = _givers(outputs, results)
    if layer == "auto" and len(found) == 1:
        return found[0]
    who = f"{owner} ({type(model).__name__})"
    if layer != "auto":
        who = f"layer '{layer}' does not give the output of {who}, which"
    who = who[0].upper() + who[1:]
    if len(found) == 1:
        raise ICKDError(f"{who} is given by '{found[0]}'. Set {option} to that, or to 'auto'.")
    if found:
        raise ICKDError(
            f"{who} has several classifier layers ({', '.join(found)}). Set {option} to the layer "
            "whose input is the feature and whose output are the logits."
        )
    raise ICKDError(
        f"{who} has no single layer whose output is its logits: {_origin(outputs, results)}. "
        "Distillation reads features and logits at such a layer: use a model that ends in one "
        "(a linear or convolutional classifier, not scaled and not averaged with others)."
    )


def usual_layers(model: nn.Module, names: Iterable[str]) -> list[str]:
    """Those of the names that are classifier layers of the model."""
    return [name for name in names if isinstance(get_module(model, name), LEAVES)]


def _trace(
    model: nn.Module, run: Callable[[], Any], names: Iterable[str]
) -> tuple[Outputs, list[Tensor]]:
    """What the layers of these names give in one run, in order, and what the model returns."""
    outputs: dict[str, list[Tensor]] = {name: [] for name in names}

    def record(name: str) -> Callable[..., None]:
        return lambda module, args, output: outputs[name].extend(_tensors(output))

    handles = [require_layer(model, name).register_forward_hook(record(name)) for name in outputs]
    try:
        with evaluating(model), torch.no_grad():
            results = list(_tensors(run()))
    finally:
        for handle in handles:
            handle.remove()
    return outputs, results


def _tensors(value: Any) -> Iterator[Tensor]:
    """Floating tensors of a nested output."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
        return
    parts = value.values() if isinstance(value, Mapping) else value
    for part in parts if isinstance(value, (Mapping, list, tuple)) else ():
        yield from _tensors(part)


def _givers(outputs: Outputs, results: Sequence[Tensor]) -> list[str]:
    """Layers that give one of the results, in whatever dtype and with whatever axes of length 1."""
    return [
        name
        for name, given in outputs.items()
        if any(_equal(one, result) for one in given for result in results)
    ]


def _equal(one: Tensor, other: Tensor) -> bool:
    if one is other:
        return True
    # All zeros, as of heads that begin with weights of zero, are equal by accident.
    return _alike(one, other) and bool(one.any()) and _close(_flat(one), _flat(other))


def _origin(outputs: Outputs, results: Sequence[Tensor]) -> str:
    """How a model makes its output, if that can be told from what its layers give."""
    for result in results:
        whole = _flat(result)
        parts = {n: _flat(g[-1]) for n, g in outputs.items() if g and _alike(g[-1], result)}
        for name, part in parts.items():
            factor, offset = _line(part, whole)
            if factor and _close(factor * part + offset, whole):
                added = f" plus {offset:.3g}" if abs(offset) > 1e-3 else ""
                return f"they are the output of {name} times {factor:.4g}{added}"
        last = list(parts)[-MOST_AVERAGED:]
        for size in range(2, len(last) + 1):
            for names in combinations(last, size):
                total = torch.stack([parts[name] for name in names]).sum(0)
                for what, one in (("mean", total / size), ("sum", total)):
                    if _close(one, whole):
                        return f"they are the {what} of the outputs of {' and '.join(names)}"
    return "a head that is query-based, has several stages, or changes what its last layer gives"


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether both have one shape, but for axes of length 1."""
    return [n for n in one.shape if n > 1] == [n for n in other.shape if n > 1]


def _flat(values: Tensor) -> Tensor:
    return values.flatten().double().cpu()


def _close(one: Tensor, other: Tensor) -> bool:
    """Whether values are equal up to rounding; NaN equals NaN."""
    return torch.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True)


def _line(x: Tensor, y: Tensor) -> tuple[float, float]:
    """``(a, b)`` of the least squares ``y = a x + b``."""
    centred = x - x.mean()
    factor = float((centred * (y - y.mean())).sum() / centred.square().sum().clamp_min(1e-30))
    return factor, float(y.mean() - factor * x.mean())
