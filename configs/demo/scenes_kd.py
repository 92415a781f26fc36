# KD alone, at the anchors of the NICD config, which are balanced over the classes. Weight and
# temperature are the best of results/plans/scenes.json.
_base_ = ['scenes_nicd.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['losses'] = dict(
    kd=dict(loss_weight=1.0, temperature=4.0, dense=False),
    picd=None,
    nicd=None)
