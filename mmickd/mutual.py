"""One step of networks that teach each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.banks.queue_bank import QueueBank, load_queue_states, queue_states
from mmickd.distiller import Distiller
from mmickd.losses.joining import join_losses
from mmickd.schedules import RunTime
from mmickd.taps import Tapped, evaluating
from mmickd.teachers.momentum_encoder import MomentumEncoder
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
        encoders: by network, what its queues hold rows of; empty if they hold its own.
    """

    learns = True
    learnt_key = "peers"
    """See :class:`Distiller`."""

    def __init__(
        self,
        peers: Sequence[Peer],
        pairs: Mapping[tuple[int, int], Distiller],
        live: Sequence[LiveTeacher],
        banks: Sequence[Mapping[str, QueueBank]],
        encoders: Sequence[MomentumEncoder] = (),
    ) -> None:
        self.peers, self.pairs, self.live = list(peers), dict(pairs), list(live)
        self.encoders = list(encoders)
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

    def joined(
        self,
        inputs: Tensor,
        data_samples: Sequence[Any],
        student: Tapped,
        task_losses: dict[str, Any],
        time: RunTime,
    ) -> dict[str, Any]:
        """The student's losses, see :meth:`Distiller.joined`; the peers learn."""
        outcomes = [peer.forward(inputs, data_samples) for peer in self.peers]
        tapped = [student, *(tapped for _, tapped in outcomes)]
        for live, own in zip(self.live, tapped, strict=True):
            live.tapped = Tapped(own.features.detach(), own.logits.detach())

        def lessons(learner: int, own_losses: dict[str, Any]) -> dict[str, Any]:
            pairs = [pair for (who, _), pair in self.pairs.items() if who == learner]
            terms = pairs[0].terms
            weights = terms.weights(time)
            given = [
                pair.step(inputs, data_samples, tapped[learner], weights, time.iteration)
                for pair in pairs
            ]
            extra = {name: torch.stack([one[name] for one in given]).mean(0) for name in given[0]}
            return join_losses(own_losses, extra, terms.task_weight(time, weights))

        taught = lessons(0, task_losses)
        for number, (peer, (losses, _)) in enumerate(zip(self.peers, outcomes, strict=True), 1):
            self._logged.update(peer.learn(lessons(number, losses)))
        return taught

    def after_step(self, student: nn.Module, ends_epoch: bool) -> dict[str, Tensor]:
        """Feed each network's queues once; what there is to log of the peers."""
        fed = set()
        for (_, teacher), pair in self.pairs.items():
            # of a pair whose learner retrieves; the other's weights may be 0
            if teacher not in fed and pair.feed():
                fed.add(teacher)
            pair.forget()
        for live in self.live:
            live.tapped = None
        networks = [student, *(peer.network for peer in self.peers)]
        for encoder, network in zip(self.encoders, networks, strict=False):
            encoder.follow(network)
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
        """Tensors and plain values: peers with their optimizers, encoders, and all queues."""
        return {
            "peers": [peer.state_dict() for peer in self.peers],
            "encoders": [encoder.state_dict() for encoder in self.encoders],
            "banks": queue_states(self.banks),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a run was stopped.

        Raises:
            ICKDError: if the state is of other peers, or of other queues.
        """
        learners: dict[str, list[Any]] = {"peers": self.peers, "encoders": self.encoders}
        for kind, own in learners.items():
            saved = state.get(kind, [])
            if len(saved) != len(own):
                raise ICKDError(
                    f"the resumed checkpoint holds {len(saved)} {kind}, the config has {len(own)}. "
                    "Resume with the config that it was trained with."
                )
            for learner, its_state in zip(own, saved, strict=True):
                learner.load_state_dict(its_state)
        load_queue_states(self.banks, state["banks"])
