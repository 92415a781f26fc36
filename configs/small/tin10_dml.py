# Deep mutual learning (Zhang et al. 2018) with a twin; no weight to choose.
_base_ = ['tin10_student.py']

custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(type='OnlineTeacher', num_peers=1),
        losses=dict(
            kd=dict(loss_weight=1.0, temperature=1.0), picd=None, nicd=None))
]
