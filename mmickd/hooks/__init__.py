"""Hooks that connect mmickd with a run; the method is in the other packages."""

from mmickd.hooks.context_visualization_hook import ContextVisualizationHook
from mmickd.hooks.ickd_hook import ICKDHook

__all__ = ["ContextVisualizationHook", "ICKDHook"]
