"""Distillation losses: a pure function and a thin registered class each."""

from mmickd.losses.base import BaseLoss, LogitLoss
from mmickd.losses.dist_loss import DISTLoss, dist_loss
from mmickd.losses.dkd import DKDLoss, dkd_loss
from mmickd.losses.kd import KDLoss, kd_loss
from mmickd.losses.label_smoothing import LabelSmoothingLoss, label_smoothing_loss
from mmickd.losses.nicd import NICDLoss, nicd_loss
from mmickd.losses.picd import PICDLoss, picd_loss

__all__ = [
    "BaseLoss",
    "DISTLoss",
    "DKDLoss",
    "KDLoss",
    "LabelSmoothingLoss",
    "LogitLoss",
    "NICDLoss",
    "PICDLoss",
    "dist_loss",
    "dkd_loss",
    "kd_loss",
    "label_smoothing_loss",
    "nicd_loss",
    "picd_loss",
]
