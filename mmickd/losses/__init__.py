"""Distillation losses: a pure function and a thin registered class each."""

from mmickd.losses.base import BaseLoss, LogitLoss
from mmickd.losses.context_kd import ContextKDLoss, context_kd_loss
from mmickd.losses.cwd import CWDLoss, cwd_loss
from mmickd.losses.dist_loss import DISTLoss, dist_loss
from mmickd.losses.dkd import DKDLoss, dkd_loss
from mmickd.losses.kd import KDLoss, kd_loss
from mmickd.losses.label_smoothing import LabelSmoothingLoss, label_smoothing_loss
from mmickd.losses.membership import MembershipLoss, membership_loss
from mmickd.losses.nicd import NICDLoss, nicd_loss
from mmickd.losses.picd import PICDLoss, picd_loss
from mmickd.losses.pld import PLDLoss, pld_loss
from mmickd.losses.relational import RelationalLoss, relational_loss
from mmickd.losses.wttm import WTTMLoss, wttm_loss

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
    "context_kd_loss",
    "cwd_loss",
    "dist_loss",
    "dkd_loss",
    "kd_loss",
    "label_smoothing_loss",
    "membership_loss",
    "nicd_loss",
    "picd_loss",
    "pld_loss",
    "relational_loss",
    "wttm_loss",
]
