"""A loss of your own: pull the student to the one most similar row of its class.

    custom_imports = dict(imports=['new_loss'])        # this file, on PYTHONPATH
    custom_hooks = [dict(type='mmickd.ICKDHook', teacher=...,
                         losses=dict(pull=dict(type='PullToNearest', loss_weight=0.5)))]

The log shows ``loss_pull`` beside the others, and ``pull_valid``, ``pull_sim`` of its retrieval.
"""

from mmickd.losses import BaseLoss
from mmickd.registry import LOSSES


@LOSSES.register_module()
class PullToNearest(BaseLoss):
    """Squared distance to the distribution of the nearest row."""

    num_positives = 1

    def forward(self, queries):
        """A number per query, ``(Q,)``; anything where it does not count."""
        target = queries.positives.logits[:, 0].softmax(-1)
        return (queries.student_logits.softmax(-1) - target).square().sum(-1)

    def counted(self, queries):
        """``(Q,)`` bool: those that have a row."""
        return queries.positives.has_rows
