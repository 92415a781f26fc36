# KD alone: the IC-KD config without its in-context terms (no bank is built).
_base_ = ['tin100_32px_resnet56_resnet20_ickd.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['losses'].update(picd=None, nicd=None)
