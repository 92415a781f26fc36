"""A teacher with a network that learns: an assistant that trains on the task beside the student.

    custom_imports = dict(imports=['learning_teacher'])
    teacher = dict(type='AssistantTeacher', cfg='path/to/its/config.py', lr=0.05)

It learns nothing from the student. Its bank is a queue per class. Weights, optimizer and queue lie
in the checkpoint, so that a resumed run goes on with them.
"""

import torch

from mmickd.registry import TEACHERS
from mmickd.teachers import NetworkTeacher
from mmickd.teachers.models import build_network, model_config
from mmickd.utils.config import load_config
from mmickd.utils.validation import check_number


@TEACHERS.register_module()
class AssistantTeacher(NetworkTeacher):
    """A network that takes a step on the task's loss, and then teaches.

    Args:
        cfg: config of its model.
        lr: learning rate of its own SGD.
        layer: its last classifier layer; 'auto' finds it.
    """

    is_frozen = False

    def __init__(self, cfg, lr=0.05, layer="auto"):
        super().__init__(layer)
        check_number(lr, "lr", above=0)
        self.cfg, self.lr = cfg, lr

    def make_network(self, run):
        """A new network."""
        cfg = load_config(self.cfg, "teacher.cfg")
        network = build_network(model_config(cfg), cfg, self.cfg)
        network.init_weights()
        return network

    def open(self, remember, momentum):
        """With an optimizer of its own."""
        super().open(remember, momentum)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=self.lr, momentum=0.9)

    def forward(self, batch, student):
        """Learn from the batch, then teach it."""
        self.model.requires_grad_(True).train()
        with torch.random.fork_rng(), torch.enable_grad():  # the student's numbers stay its own
            losses = self.model(batch.inputs, batch.data_samples, mode="loss")
            total, _ = self.model.parse_losses(losses)
            total.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.model.requires_grad_(False).eval()
        return super().forward(batch, student)

    def own_state(self):
        """What a resumed run needs."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_own_state(self, state):
        """Go on with it."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
