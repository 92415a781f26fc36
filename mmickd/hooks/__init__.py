"""Hooks: the life of mmickd in a run, nothing of the method."""

from mmickd.hooks.context_visualization_hook import ContextVisualizationHook
from mmickd.hooks.ickd_hook import ICKDHook

__all__ = ["ContextVisualizationHook", "ICKDHook"]
