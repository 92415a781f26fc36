# KD alone: the IC-KD config without its in-context terms (no bank is built).
_base_ = ['../ickd/resnet32x4_resnet8x4_tin100.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['losses'].update(picd=None, nicd=None)
