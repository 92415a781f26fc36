"""A network that trains beside the student."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from mmickd.networks.taps import Tap, evaluating
from mmickd.structures import Batch, Tapped
from mmickd.teachers.loading import load_weights
from mmickd.teachers.normalization import InputConverter
from mmickd.teachers.run_context import RunContext, TrainingTools
from mmickd.utils.errors import ICKDError
from mmickd.utils.state_structure import check_same_structure
from mmickd.utils.text import error_text


class Peer:
    """One network with its optimizer and schedulers, trained on the student's batches.

    Args:
        name: in the log.
        model: the network, wrapped for distributed training as the student is.
        optim_wrapper: of its parameters.
        param_schedulers: of its optimizer.
        layer: its classifier layer.
        converter: from the student's normalised inputs to its own.
        seed: of what it draws at random (dropout), so that the student's draws stay its own.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        optim_wrapper: Any,
        param_schedulers: Sequence[Any],
        layer: str,
        converter: InputConverter,
        seed: int,
    ) -> None:
        self.name, self.model, self.optim_wrapper = name, model, optim_wrapper
        self.param_schedulers, self.converter = list(param_schedulers), converter
        self.optim_wrapper.message_hub = _OwnLog(name, optim_wrapper.message_hub)
        self.tap = Tap(self.network, layer)
        self._random = _RandomState(seed, next(model.parameters()).device)

    @property
    def network(self) -> nn.Module:
        """The network without its wrapper."""
        model = self.model
        return model.module if is_model_wrapper(model) else model  # type: ignore[return-value]

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Tapped]:
        """Task losses, features and logits of the student's batch, with gradients.

        Raises:
            ICKDError: if the classifier layer does not run.
        """
        losses: dict[str, Tensor] = {}
        inputs, data_samples = self.converter(batch.inputs.float()), batch.data_samples
        self.network.train()

        def run() -> None:
            losses.update(self.model(inputs=inputs, data_samples=data_samples, mode="loss"))

        with (
            self._random.own(),
            # it runs inside of the student's step, whose autocast is not its own
            torch.autocast(self._random.device.type, enabled=False),
            self.optim_wrapper.optim_context(self.model),
        ):
            return losses, self.tap.read(run, self.name, "teacher.layer")

    def learn(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step of its optimizer; what there is to log of it."""
        # a step of the student may be under autocast, a backward pass should not
        with torch.autocast(self._random.device.type, enabled=False), self._random.own():
            total, logged = self.network.parse_losses(losses)  # type: ignore[operator]
            self.optim_wrapper.update_params(total)
        return {f"{self.name}.{name}": value for name, value in logged.items()}

    def step_schedulers(self, by_epoch: bool) -> None:
        """After an iteration, or an epoch."""
        for scheduler in self.param_schedulers:
            if scheduler.by_epoch is by_epoch:
                scheduler.step()

    def validate(self, loader: Any, evaluator: Any) -> dict[str, Any]:
        """Its metrics on validation data.

        Args:
            loader: of the validation loop.
            evaluator: of the validation loop; it is left as it was found, empty.
        """
        with evaluating(self.network), torch.no_grad():
            for batch in loader:
                outputs = self.network.val_step(batch)  # type: ignore[operator]
                evaluator.process(data_samples=outputs, data_batch=batch)
        return evaluator.evaluate(len(loader.dataset))

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {
            "state_dict": self.network.state_dict(),
            "optimizer": self.optim_wrapper.state_dict(),
            "param_schedulers": [scheduler.state_dict() for scheduler in self.param_schedulers],
            "random": self._random.state_dict(),
            "recipe": self._recipe,
        }

    @property
    def _recipe(self) -> list[str]:
        """Kinds of its optimizer and schedulers: the state of one is none for another."""
        return [
            type(one).__name__ for one in (self.optim_wrapper.optimizer, *self.param_schedulers)
        ]

    @property
    def _settings(self) -> dict[str, Any]:
        """Of the state, all of the recipe that is not kept for each weight."""
        optimizer = self.optim_wrapper.state_dict()
        return {
            "optimizer": {"param_groups": optimizer["param_groups"]},
            "param_schedulers": [scheduler.state_dict() for scheduler in self.param_schedulers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave.

        Raises:
            ICKDError: if it is of another network or recipe.
        """
        try:
            if state["recipe"] != self._recipe:
                raise ValueError(f"trained by {', '.join(state['recipe'])}")
            check_same_structure(state, self._settings, self.name)
            faults = load_weights(self.network, state["state_dict"])
            if faults:
                raise ValueError(faults)
            self.optim_wrapper.load_state_dict(state["optimizer"])
            _try_step(self.optim_wrapper.optimizer)
            for own, saved in zip(self.param_schedulers, state["param_schedulers"], strict=True):
                own.load_state_dict(saved)
            self._random.load_state_dict(state["random"])
        except Exception as error:  # whatever a damaged state leads to
            raise ICKDError(
                f"the resumed checkpoint holds another {self.name} ({error_text(error)}). "
                "Resume with the config that it was trained with."
            ) from error


def _try_step(optimizer: torch.optim.Optimizer) -> None:
    """A step of a copy: what an optimizer keeps for each weight, it looks at only there.

    Raises:
        Exception: whatever it raises of a state that is not its own.
    """
    try:
        trial = copy.deepcopy(optimizer)
    except Exception:  # it holds what cannot be copied, such as groups of processes
        return
    for group in trial.param_groups:
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight)
    trial.step()


class _OwnLog:
    """A message hub in which what a peer's optimizer logs (norms of gradients) has its name."""

    def __init__(self, name: str, hub: Any) -> None:
        self._name, self._hub = name, hub

    def update_scalar(self, name: str, *args: Any, **kwargs: Any) -> None:
        """See ``MessageHub``."""
        self._hub.update_scalar(name.replace("/", f"/{self._name}.", 1), *args, **kwargs)


class _RandomState:
    """Torch's generators of a network's own, taken up where they were left."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self._gpus = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(self._gpus):
            torch.manual_seed(seed)
            self._keep()

    @contextmanager
    def own(self) -> Iterator[None]:
        """Draw from this network's generators inside."""
        with torch.random.fork_rng(self._gpus):
            torch.set_rng_state(self._state["cpu"])
            if "gpu" in self._state:
                torch.cuda.set_rng_state(self._state["gpu"], self.device)
            try:
                yield
            finally:
                self._keep()

    def state_dict(self) -> dict[str, Tensor]:
        """The generators as they are now."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where they were; a GPU that was not there begins with its own."""
        for name in self._state.keys() & state.keys():
            generator = torch.Generator(self.device if name == "gpu" else "cpu")
            generator.set_state(state[name].cpu())  # it looks whether it is one
            self._state[name] = generator.get_state()

    def _keep(self) -> None:
        self._state = {"cpu": torch.get_rng_state()}
        if self._gpus:
            self._state["gpu"] = torch.cuda.get_rng_state(self.device)


def trained_peer(
    name: str,
    network: nn.Module,
    layer: str,
    run: RunContext,
    tools: TrainingTools,
    recipe: Mapping[str, Any],
) -> Peer:
    """A peer with all that trains it.

    Args:
        name: in the log.
        network: unwrapped.
        layer: its classifier layer.
        run: the run.
        tools: of the run.
        recipe: configs of ``optim_wrapper`` and ``param_scheduler``; None: the run's own.

    Raises:
        ICKDError: if the recipe cannot be built, or waits for what peers do not get.
    """
    option = "optim_wrapper"
    try:
        optim_wrapper = tools.optim_wrapper(network, recipe[option])
        option = "param_scheduler"
        schedulers = tools.param_schedulers(optim_wrapper, recipe[option])
    except Exception as error:  # whatever mmengine or torch say of such a config
        raise ICKDError(
            f"teacher.{option} cannot be built for {name} "
            f"({type(error).__name__}: {str(error)[:300]}). Write it as the run's own "
            f"{option}, or leave it out for a copy of that."
        ) from error
    waiting = [type(s).__name__ for s in schedulers if getattr(s, "need_val_args", False)]
    if waiting:
        raise ICKDError(
            f"{waiting[0]} waits for metrics of validation, which the schedulers of peers do not "
            "get. Give another scheduler in teacher.param_scheduler."
        )
    converter = InputConverter.between(run.student, network).to(run.device)
    seed = tools.seed(name)
    return Peer(name, tools.wrap(network), optim_wrapper, schedulers, layer, converter, seed)
