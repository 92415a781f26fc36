"""New teacher that learns: an assistant network that trains on the task beside the student.

    custom_imports = dict(imports=['learning_teacher'])
    teacher = dict(type='AssistantTeacher', cfg='path/to/its/config.py', lr=0.05)

It does not distil from the student. Its bank is a queue per class. The run's checkpoint holds its
weights, optimizer and queue, and a resumed run restores them.
"""

import torch

from mmickd.registry import TEACHERS
from mmickd.teachers import NetworkTeacher
from mmickd.teachers.models import build_network, model_config
from mmickd.utils.config import load_config
from mmickd.utils.validation import check_number


@TEACHERS.register_module()
class AssistantTeacher(NetworkTeacher):
    """Network that makes a step on the task's loss before the student distils from it.

    Args:
        cfg: Config of its model.
        lr: Learning rate of its optimizer (SGD).
        layer: Name of its classifier layer; 'auto' searches for it.
    """

    is_frozen = False

    def __init__(self, cfg, lr=0.05, layer="auto"):
        super().__init__(layer)
        check_number(lr, "lr", above=0)
        self.cfg, self.lr = cfg, lr

    def make_network(self, run):
        """Return a network with new weights."""
        cfg = load_config(self.cfg, "teacher.cfg")
        network = build_network(model_config(cfg), cfg, self.cfg)
        network.init_weights()
        return network

    def open(self, make_memory, momentum):
        """Make the memory and the optimizer."""
        super().open(make_memory, momentum)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=self.lr, momentum=0.9)

    def forward(self, batch, student):
        """Make a step on the batch, then return the network as the source."""
        self.model.requires_grad_(True).train()
        with torch.random.fork_rng(), torch.enable_grad():  # keeps the student's random state
            losses = self.model(batch.inputs, batch.data_samples, mode="loss")
            total, _ = self.model.parse_losses(losses)
            total.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.model.requires_grad_(False).eval()
        return super().forward(batch, student)

    def own_state(self):
        """Return the state that a resumed run needs."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_own_state(self, state):
        """Restore the state."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
