# KD alone (no bank is built), with the best setting of results/plans/digits_noise40_late.json.
_base_ = ['wrong_labels_ickd.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['losses']['kd'] = dict(loss_weight=1.0, temperature=2.0)
