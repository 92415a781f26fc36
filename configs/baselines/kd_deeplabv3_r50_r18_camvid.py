# KD alone, at every pixel: the IC-KD config with vanilla KD as its only term (no bank is built).
_base_ = ['../ickd/deeplabv3_r50_r18_camvid.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['losses'] = dict(
    kd=dict(loss_weight=1.0, temperature=1.0, dense=True),
    picd=None,
    nicd=None)
