# DIST alone, with the teacher's predictions as targets (no bank is built).
_base_ = ['wrong_labels_ickd.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['losses']['kd'] = dict(type='DISTLoss')
