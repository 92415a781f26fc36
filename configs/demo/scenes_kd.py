# KD alone: the IC-KD config with vanilla KD for its terms (no bank is built).
_base_ = ['scenes_ickd.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['losses'] = dict(
    kd=dict(loss_weight=0.3, temperature=1.0), picd=None, nicd=None)
