"""Finding a model's classifier layer: the layer whose output is the model's output."""

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
"""Outputs of each layer by its name, a tensor for each call of the layer."""
MAX_COMBINED = 5
"""Maximum number of layers that are tried as summands of the logits, or of their mean."""


def find_classifier(
    model: nn.Module,
    run: Callable[[], Any],
    usual: Sequence[str],
    owner: str,
    option: str,
    layer: str = "auto",
) -> str:
    """Return the name of the layer whose output is the model's output.

    For a model that returns several tensors, the layer outputs one of them. The usual names are
    tried before all other layers.

    Args:
        model: Any model.
        run: Function that runs ``model`` with ``mode='tensor'`` and returns its output; it is
            called in eval mode without gradients.
        usual: Names of this layer in models of this kind, see
            :meth:`mmickd.tasks.Task.classifier_names`.
        owner: 'the teacher', 'the student' or 'peer 0', for the message.
        option: Option that names the layer, for the message.
        layer: Value of that option; 'auto' searches for the layer, a name is checked.

    Raises:
        ICKDError: If no layer or several layers output the logits, or the named layer does not.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> find_classifier(model, lambda: model(torch.zeros(1, 4)), (), "the student", "layer")
        '2'
    """
    if layer == "auto":
        candidates = usual_layers(model, usual)
    else:
        out_width(require_layer(model, layer))
        candidates = [layer]
    if candidates:
        matches = _matching_layers(*_trace(model, run, candidates))
        if matches:
            return matches[0]
    outputs, results = _trace(model, run, leaf_names(model))
    matches = _matching_layers(outputs, results)
    if layer == "auto" and len(matches) == 1:
        return matches[0]
    subject = f"{owner} ({type(model).__name__})"
    if layer != "auto":
        subject = f"layer '{layer}' does not output the logits of {subject}, which"
    subject = subject[0].upper() + subject[1:]
    if len(matches) == 1:
        raise ICKDError(
            f"{subject} has the classifier layer '{matches[0]}'. Set {option} to that name, or to "
            "'auto'."
        )
    if matches:
        raise ICKDError(
            f"{subject} has several classifier layers ({', '.join(matches)}). Set {option} to the "
            "layer whose input is the feature and whose output are the logits."
        )
    raise ICKDError(
        f"{subject} has no single layer whose output is its logits: "
        f"{_explain_output(outputs, results)}. "
        "Distillation reads features and logits at such a layer: use a model that ends in one "
        "(a linear or convolutional classifier, not scaled and not averaged with other outputs)."
    )


def usual_layers(model: nn.Module, names: Iterable[str]) -> list[str]:
    """Return the names that belong to Linear or Conv layers of the model."""
    return [name for name in names if isinstance(get_module(model, name), LEAVES)]


def _trace(
    model: nn.Module, run: Callable[[], Any], names: Iterable[str]
) -> tuple[Outputs, list[Tensor]]:
    """Run a model once; return the outputs of the named layers, and the tensors of its output."""
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
    """Yield the floating point tensors of a nested output."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
        return
    items = value.values() if isinstance(value, Mapping) else value
    for item in items if isinstance(value, (Mapping, list, tuple)) else ():
        yield from _tensors(item)


def _matching_layers(outputs: Outputs, results: Sequence[Tensor]) -> list[str]:
    """Return the layers that output one of the results; dtypes and axes of length 1 may differ."""
    return [
        name
        for name, tensors in outputs.items()
        if any(_is_same(tensor, result) for tensor in tensors for result in results)
    ]


def _is_same(tensor: Tensor, result: Tensor) -> bool:
    if tensor is result:
        return True
    # All layers whose weights are initialised with zeros have equal outputs.
    has_values = _has_same_shape(tensor, result) and bool(tensor.any())
    return has_values and _is_close(_flat(tensor), _flat(result))


def _explain_output(outputs: Outputs, results: Sequence[Tensor]) -> str:
    """Return how a model computes its logits, as far as the outputs of its layers show it."""
    for result in results:
        logits = _flat(result)
        candidates = {
            name: _flat(tensors[-1])
            for name, tensors in outputs.items()
            if tensors and _has_same_shape(tensors[-1], result)
        }
        for name, values in candidates.items():
            factor, offset = _fit_line(values, logits)
            if factor and _is_close(factor * values + offset, logits):
                added = f" plus {offset:.3g}" if abs(offset) > 1e-3 else ""
                return f"they are the output of {name} times {factor:.4g}{added}"
        last = list(candidates)[-MAX_COMBINED:]
        for size in range(2, len(last) + 1):
            for names in combinations(last, size):
                total = torch.stack([candidates[name] for name in names]).sum(0)
                for kind, combined in (("mean", total / size), ("sum", total)):
                    if _is_close(combined, logits):
                        return f"they are the {kind} of the outputs of {' and '.join(names)}"
    return "a head that is query-based, has several stages, or changes the output of its last layer"


def _has_same_shape(a: Tensor, b: Tensor) -> bool:
    """True if both shapes agree without their axes of length 1."""
    return [n for n in a.shape if n > 1] == [n for n in b.shape if n > 1]


def _flat(values: Tensor) -> Tensor:
    return values.flatten().double().cpu()


def _is_close(a: Tensor, b: Tensor) -> bool:
    """True if the values are equal up to rounding; NaN equals NaN."""
    return torch.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True)


def _fit_line(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Return ``(a, b)`` of the least squares fit ``y = a x + b``."""
    centred = x - x.mean()
    factor = float((centred * (y - y.mean())).sum() / centred.square().sum().clamp_min(1e-30))
    return factor, float(y.mean() - factor * x.mean())
