# KD alone: the IC-KD config with both in-context terms off (no bank is built).
_base_ = ['tin10_16px_ickd.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['losses'].update(picd=None, nicd=None)
