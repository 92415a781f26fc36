# KD alone: the IC-KD config with both in-context terms off (no bank is built).
_base_ = ['../ickd/deeplabv3_r101_r18_cityscapes.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['losses'].update(picd=None, nicd=None)
