"""Peer: a network that trains beside the student."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from mmickd.networks.taps import Tap, evaluating
from mmickd.structures import Batch, Tapped
from mmickd.teachers.loading import load_weights
from mmickd.teachers.normalization import InputConverter
from mmickd.teachers.run_context import RunContext
from mmickd.utils.errors import ICKDError
from mmickd.utils.state_structure import check_same_structure
from mmickd.utils.text import error_text


class Peer:
    """Network with an optimizer and schedulers, trained on the student's batches.

    Args:
        name: Name of the peer in the log.
        model: The network, in the student's wrapper for distributed training.
        optim_wrapper: Optimizer wrapper of its parameters.
        param_schedulers: Schedulers of its optimizer.
        layer: Name of its classifier layer.
        converter: Converter of inputs that are normalised for the student.
        seed: Seed of its random numbers (dropout), which are independent of the student's.
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
        self.optim_wrapper.message_hub = _PrefixingHub(name, optim_wrapper.message_hub)
        self.tap = Tap(self.network, layer)
        self._random = _RandomState(seed, next(model.parameters()).device)

    @property
    def network(self) -> nn.Module:
        """The network without its wrapper."""
        model = self.model
        return model.module if is_model_wrapper(model) else model  # type: ignore[return-value]

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Tapped]:
        """Return task losses, features and logits of the student's batch, with gradients.

        Raises:
            ICKDError: If the classifier layer does not run.
        """
        losses: dict[str, Tensor] = {}
        inputs, data_samples = self.converter(batch.inputs.float()), batch.data_samples
        self.network.train()

        def run() -> None:
            losses.update(self.model(inputs=inputs, data_samples=data_samples, mode="loss"))

        # The student's step, which calls this, may be under autocast; the peer sets its precision.
        device = self._random.device.type
        with (
            self._random.active(),
            torch.autocast(device, enabled=False),
            self.optim_wrapper.optim_context(self.model),
        ):
            return losses, self.tap.read(run, self.name, "teacher.layer")

    def learn(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Make a step of the optimizer; return the values to log."""
        # A step of the student may be under autocast; a backward pass should not be.
        with torch.autocast(self._random.device.type, enabled=False), self._random.active():
            total, logged = self.network.parse_losses(losses)  # type: ignore[operator]
            self.optim_wrapper.update_params(total)
        return {f"{self.name}.{name}": value for name, value in logged.items()}

    def step_schedulers(self, by_epoch: bool) -> None:
        """Step all schedulers that count epochs (``by_epoch``), or all that count iterations."""
        for scheduler in self.param_schedulers:
            if scheduler.by_epoch is by_epoch:
                scheduler.step()

    def validate(self, loader: Any, evaluator: Any) -> dict[str, Any]:
        """Return the peer's metrics as ``<name>.<metric>``.

        Args:
            loader: Loader of the validation loop.
            evaluator: Evaluator of the validation loop; empty again afterwards.
        """
        with evaluating(self.network), torch.no_grad():
            for batch in loader:
                outputs = self.network.val_step(batch)  # type: ignore[operator]
                evaluator.process(data_samples=outputs, data_batch=batch)
        metrics = evaluator.evaluate(len(loader.dataset))
        return {f"{self.name}.{name}": value for name, value in metrics.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs."""
        trainers = self.optim_wrapper.optimizer, *self.param_schedulers
        return {
            "state_dict": self.network.state_dict(),
            "optimizer": self.optim_wrapper.state_dict(),
            "param_schedulers": [scheduler.state_dict() for scheduler in self.param_schedulers],
            "random": self._random.state_dict(),
            # The state of an optimizer or scheduler does not fit another type.
            "recipe": [type(trainer).__name__ for trainer in trainers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of :meth:`state_dict`.

        Raises:
            ICKDError: If the state belongs to another network, optimizer or scheduler.
        """
        present = self.state_dict()
        settings = {
            "optimizer": {"param_groups": present["optimizer"]["param_groups"]},
            "param_schedulers": present["param_schedulers"],
        }
        try:
            if state["recipe"] != present["recipe"]:
                raise ValueError(f"trained by {', '.join(state['recipe'])}")
            check_same_structure(state, settings, self.name)
            faults = load_weights(self.network, state["state_dict"])
            if faults:
                raise ValueError(faults)
            self.optim_wrapper.load_state_dict(state["optimizer"])
            _try_step(self.optim_wrapper.optimizer)
            states = state["param_schedulers"]
            for scheduler, saved in zip(self.param_schedulers, states, strict=True):
                scheduler.load_state_dict(saved)
            self._random.load_state_dict(state["random"])
        except Exception as error:  # any error that a damaged state leads to
            raise ICKDError(
                f"the resumed checkpoint holds another {self.name} ({error_text(error)}). "
                "Resume with the config that it was trained with."
            ) from error


def build_peer(
    name: str, network: nn.Module, layer: str, run: RunContext, optim_wrapper: Any, schedulers: Any
) -> Peer:
    """Return a peer with its optimizer and schedulers.

    Args:
        name: Name of the peer in the log.
        network: Unwrapped network.
        layer: Name of its classifier layer.
        run: Run of the student.
        optim_wrapper: Config of the optimizer wrapper; None: the run's.
        schedulers: Config of the schedulers; None: the run's.

    Raises:
        ICKDError: If optimizer or schedulers cannot be built, or a scheduler needs validation
            metrics.
    """
    tools, option = run.tools, "optim_wrapper"
    assert tools is not None
    try:
        wrapper = tools.optim_wrapper(network, optim_wrapper)
        option = "param_scheduler"
        param_schedulers = tools.param_schedulers(wrapper, schedulers)
    except Exception as error:  # any error of mmengine or torch for such a config
        raise ICKDError(
            f"teacher.{option} cannot be built for {name} "
            f"({type(error).__name__}: {str(error)[:300]}). Write it like the run's {option}, or "
            "omit it to use a copy of that."
        ) from error
    for scheduler in param_schedulers:
        if getattr(scheduler, "need_val_args", False):
            raise ICKDError(
                f"{type(scheduler).__name__} needs validation metrics, which the schedulers of "
                "peers do not get. Set another scheduler in teacher.param_scheduler."
            )
    converter = InputConverter.between(run.student, network).to(run.device)
    model, seed = tools.wrap(network), tools.seed(name)
    return Peer(name, model, wrapper, param_schedulers, layer, converter, seed)


def _try_step(optimizer: torch.optim.Optimizer) -> None:
    """Make a step with a copy of an optimizer, as only a step reads the state of each weight.

    Raises:
        Exception: Any error of the optimizer for a state that does not fit.
    """
    try:
        trial = copy.deepcopy(optimizer)
    except Exception:  # process groups, for example, cannot be copied
        return
    for group in trial.param_groups:
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight)
    trial.step()


class _PrefixingHub:
    """Message hub that puts the peer's name before the logs of its optimizer (gradient norms)."""

    def __init__(self, name: str, hub: Any) -> None:
        self._name, self._hub = name, hub

    def update_scalar(self, name: str, *args: Any, **kwargs: Any) -> None:
        """See ``MessageHub``."""
        self._hub.update_scalar(name.replace("/", f"/{self._name}.", 1), *args, **kwargs)


class _RandomState:
    """State of torch's random generators for one network.

    Args:
        seed: Seed of the first state.
        device: Device of the network.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self._gpus = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(self._gpus):
            torch.manual_seed(seed)
            self._store()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Use this state in the block, and restore torch's state after it."""
        with torch.random.fork_rng(self._gpus):
            torch.set_rng_state(self._state["cpu"])
            if "gpu" in self._state:
                torch.cuda.set_rng_state(self._state["gpu"], self.device)
            try:
                yield
            finally:
                self._store()

    def _store(self) -> None:
        self._state = {"cpu": torch.get_rng_state()}
        if self._gpus:
            self._state["gpu"] = torch.cuda.get_rng_state(self.device)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the present states, by 'cpu' and 'gpu'."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the states; a GPU without a saved state starts from its seed."""
        for name in self._state.keys() & state.keys():
            generator = torch.Generator(self.device if name == "gpu" else "cpu")
            generator.set_state(state[name].cpu())  # validates the state
            self._state[name] = generator.get_state()
