"""Hooks: the life of mmickd in a run, nothing of the method."""

from mmickd.hooks.ickd_hook import ICKDHook

__all__ = ["ICKDHook"]
