"""Distillation losses: registered classes; the best known losses are plain functions too."""

from mmickd.losses.base import BaseLoss, LogitLoss
from mmickd.losses.context_kd import ContextKDLoss
from mmickd.losses.cwd import CWDLoss
from mmickd.losses.dist_loss import DISTLoss, dist_loss
from mmickd.losses.dkd import DKDLoss, dkd_loss
from mmickd.losses.kd import KDLoss, kd_loss
from mmickd.losses.label_smoothing import LabelSmoothingLoss
from mmickd.losses.membership import MembershipLoss
from mmickd.losses.nicd import NICDLoss, nicd_loss
from mmickd.losses.picd import PICDLoss, picd_loss
from mmickd.losses.pld import PLDLoss
from mmickd.losses.relational import RelationalLoss
from mmickd.losses.wttm import WTTMLoss

__all__ = [
    "BaseLoss",
    "CWDLoss",
    "ContextKDLoss",
    "DISTLoss",
    "DKDLoss",
    "KDLoss",
    "LabelSmoothingLoss",
    "LogitLoss",
    "MembershipLoss",
    "NICDLoss",
    "PICDLoss",
    "PLDLoss",
    "RelationalLoss",
    "WTTMLoss",
    "dist_loss",
    "dkd_loss",
    "kd_loss",
    "nicd_loss",
    "picd_loss",
]
