"""A network that trains beside the student."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from mmickd.taps import Tap, Tapped
from mmickd.teachers.normalization import InputConverter
from mmickd.utils.errors import ICKDError


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

    def forward(
        self, inputs: Tensor, data_samples: Sequence[Any]
    ) -> tuple[dict[str, Tensor], Tapped]:
        """Task losses, features and logits of a batch, with gradients.

        Args:
            inputs: ``(B, 3, h, w)``, normalised and augmented for the student.
            data_samples: ``B`` of them.

        Raises:
            ICKDError: if the classifier layer does not run.
        """
        self.network.train()
        self.tap.arm()
        with (
            self._random.own(),
            # it runs inside of the student's step, whose autocast is not its own
            torch.autocast(self._random.device.type, enabled=False),
            self.optim_wrapper.optim_context(self.model),
        ):
            losses = self.model(
                inputs=self.converter(inputs.float()), data_samples=data_samples, mode="loss"
            )
        tapped = self.tap.take()
        if tapped is None:
            raise ICKDError(
                f"the layer '{self.tap.layer}' of {self.name} does not run in its training step. "
                "Set teacher.layer to the layer that gives the logits."
            )
        return losses, tapped

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

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave.

        Raises:
            ICKDError: if it is of another network or recipe.
        """
        try:
            if state["recipe"] != self._recipe:
                raise ValueError(f"trained by {', '.join(state['recipe'])}")
            self.network.load_state_dict(state["state_dict"], strict=True)
            self.optim_wrapper.load_state_dict(state["optimizer"])
            for own, saved in zip(self.param_schedulers, state["param_schedulers"], strict=True):
                own.load_state_dict(saved)
            self._random.load_state_dict(state["random"])
        except (RuntimeError, ValueError, KeyError) as error:
            what = " ".join(str(error).split())[:200]
            raise ICKDError(
                f"the resumed checkpoint holds another {self.name} ({what}). "
                "Resume with the config that it was trained with."
            ) from error


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
        self._cuda = device.type == "cuda"
        with self._preserved():
            torch.manual_seed(seed)
            self._keep()

    @contextmanager
    def own(self) -> Iterator[None]:
        """Draw from this network's generators inside."""
        with self._preserved():
            torch.set_rng_state(self._cpu)
            if self._cuda:
                torch.cuda.set_rng_state(self._gpu, self.device)
            try:
                yield
            finally:
                self._keep()

    def state_dict(self) -> dict[str, Tensor]:
        """The generators as they are now."""
        return {"cpu": self._cpu, **({"gpu": self._gpu} if self._cuda else {})}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where they were; a GPU that was not there begins with its own."""
        self._cpu = state["cpu"].cpu()
        if self._cuda and "gpu" in state:
            self._gpu = state["gpu"].cpu()

    def _keep(self) -> None:
        self._cpu = torch.get_rng_state()
        if self._cuda:
            self._gpu = torch.cuda.get_rng_state(self.device)

    @contextmanager
    def _preserved(self) -> Iterator[None]:
        cpu = torch.get_rng_state()
        gpu = torch.cuda.get_rng_state(self.device) if self._cuda else None
        try:
            yield
        finally:
            torch.set_rng_state(cpu)
            if gpu is not None:
                torch.cuda.set_rng_state(gpu, self.device)
