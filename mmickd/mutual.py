"""One step of networks that teach each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.banks.queue_bank import QueueBank, load_queue_states, queue_states
from mmickd.distiller import Distiller
from mmickd.losses.joining import join_losses
from mmickd.losses.terms import LossTerms
from mmickd.taps import Tapped, evaluating
from mmickd.teachers.peer import Peer
from mmickd.utils.errors import ICKDError


class LiveTeacher:
    """What a network gave in this step, in the place of a teacher's forward pass."""

    def __init__(self) -> None:
        self.tapped: Tapped | None = None

    def __call__(self, inputs: Tensor) -> Tapped:
        """Features and logits of this step's batch."""
        assert self.tapped is not None
        return self.tapped


class MutualDistiller:
    """Student and peers learn from the task, and each from all the others.

    Network 0 is the student, network ``i`` the peer ``i - 1``. What a network learns from several
    others is averaged over them. The student's losses go to the run; the peers take their own
    optimizer steps inside.

    Args:
        peers: at least one.
        pairs: by (learner, teacher), what distils the one from the other.
        live: by network, what hands its features and logits to the others.
        banks: by network and level, its queues.
        terms: the losses.
    """

    learns = True

    def __init__(
        self,
        peers: Sequence[Peer],
        pairs: Mapping[tuple[int, int], Distiller],
        live: Sequence[LiveTeacher],
        banks: Sequence[Mapping[str, QueueBank]],
        terms: LossTerms,
    ) -> None:
        self.peers, self.pairs, self.live, self.terms = list(peers), dict(pairs), list(live), terms
        self.levels = next(iter(self.pairs.values())).levels
        names = ["student", *(peer.name for peer in self.peers)]
        self.banks = {
            f"{name}.{level}": bank
            for name, own in zip(names, banks, strict=True)
            for level, bank in own.items()
        }
        self._logged: dict[str, Tensor] = {}

    @property
    def teacher_layers(self) -> str:
        """Classifier layers of the peers, for the log."""
        return ", ".join(f"{peer.tap.layer} ({peer.name})" for peer in self.peers)

    def step(
        self,
        inputs: Tensor,
        data_samples: Sequence[Any],
        student: Tapped,
        weights: dict[str, float],
        iteration: int,
    ) -> dict[str, Tensor]:
        """The student's losses and diagnostics, see :meth:`Distiller.step`; the peers learn."""
        outcomes = [peer.forward(inputs, data_samples) for peer in self.peers]
        tapped = [student, *(tapped for _, tapped in outcomes)]
        for live, own in zip(self.live, tapped, strict=True):
            live.tapped = Tapped(own.features.detach(), own.logits.detach())

        def lessons(learner: int) -> dict[str, Tensor]:
            others = [t for t in range(len(tapped)) if t != learner]
            given = [
                self.pairs[learner, teacher].step(
                    inputs, data_samples, tapped[learner], weights, iteration
                )
                for teacher in others
            ]
            return {name: torch.stack([one[name] for one in given]).mean(0) for name in given[0]}

        taught = lessons(0)
        for number, (peer, (losses, _)) in enumerate(zip(self.peers, outcomes, strict=True), 1):
            self._logged.update(peer.learn(join_losses(losses, lessons(number))))
        return taught

    def after_step(self, student: nn.Module) -> dict[str, Tensor]:
        """Feed each network's queues once; what there is to log of the peers."""
        fed = set()
        for (_, teacher), pair in self.pairs.items():
            if teacher not in fed:
                pair.feed()
                fed.add(teacher)
            pair.forget()
        for live in self.live:
            live.tapped = None
        for peer in self.peers:
            peer.step_schedulers(by_epoch=False)
        logged, self._logged = self._logged, {}
        return logged

    def after_epoch(self) -> None:
        """Step the peers' schedulers that count epochs."""
        for peer in self.peers:
            peer.step_schedulers(by_epoch=True)

    def validate(self, loader: Any, evaluator: Any) -> dict[str, Any]:
        """Metrics of each peer on the run's validation data, as validation logs them.

        Args:
            loader: of the validation loop.
            evaluator: of the validation loop; it is left as it was found, empty.
        """
        found = {}
        for peer in self.peers:
            with evaluating(peer.network), torch.no_grad():
                for batch in loader:
                    outputs = peer.network.val_step(batch)  # type: ignore[operator]
                    evaluator.process(data_samples=outputs, data_batch=batch)
            metrics = evaluator.evaluate(len(loader.dataset))
            found.update({f"{peer.name}.{name}": value for name, value in metrics.items()})
        return found

    def retrieval_seconds(self) -> float:
        """Time that retrieval took since the last call."""
        return sum(pair.retrieval_seconds() for pair in self.pairs.values())

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values: the peers with their optimizers, and all queues."""
        peers = [peer.state_dict() for peer in self.peers]
        return {"peers": peers, "banks": queue_states(self.banks)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a run was stopped.

        Raises:
            ICKDError: if the state is of other peers, or of other queues.
        """
        saved = state.get("peers", [])
        if len(saved) != len(self.peers):
            raise ICKDError(
                f"the resumed checkpoint holds {len(saved)} peers, the config has "
                f"{len(self.peers)}. Resume with the config that it was trained with."
            )
        for peer, own in zip(self.peers, saved, strict=True):
            peer.load_state_dict(own)
        load_queue_states(self.banks, state["banks"])
