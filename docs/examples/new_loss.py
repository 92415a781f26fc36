"""New loss: the student imitates the most similar row of its class.

    custom_imports = dict(imports=['new_loss'])        # this file, on PYTHONPATH
    custom_hooks = [dict(type='mmickd.ICKDHook', teacher=...,
                         losses=dict(pull=dict(type='PullToNearest', loss_weight=0.5)))]

The log shows ``loss_pull`` beside the other losses, and ``pull_valid`` and ``pull_sim``: the share
of the queries with a row, and the similarity of the rows.
"""

from mmickd.losses import BaseLoss
from mmickd.registry import LOSSES


@LOSSES.register_module()
class PullToNearest(BaseLoss):
    """Squared distance between the student's distribution and that of the nearest row."""

    num_positives = 1

    def forward(self, queries):
        """Return ``(Q,)``: the loss of each query, arbitrary where it does not count."""
        target = queries.positives.logits[:, 0].softmax(-1)
        return (queries.student_logits.softmax(-1) - target).square().sum(-1)

    def counted(self, queries):
        """Return ``(Q,)`` bool: True for the queries that have a row."""
        return queries.positives.has_rows
