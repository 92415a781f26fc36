# CWD alone, the best of the losses without retrieval; weight and temperature are the best of
# results/plans/scenes.json.
_base_ = ['scenes_nicd.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['losses'] = dict(
    kd=dict(type='CWDLoss', loss_weight=1.0, temperature=4.0),
    picd=None,
    nicd=None)
