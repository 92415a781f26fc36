"""Distillation losses: a pure function and a thin registered class each."""

from mmickd.losses.base import BaseLoss
from mmickd.losses.kd import KDLoss, kd_loss
from mmickd.losses.nicd import NICDLoss, nicd_loss
from mmickd.losses.picd import PICDLoss, picd_loss

__all__ = ["BaseLoss", "KDLoss", "NICDLoss", "PICDLoss", "kd_loss", "nicd_loss", "picd_loss"]
