# The student's config plus one hook: another network like it trains beside it, each the other's
# teacher. The weights grow from 0 over the first half of the run: early peers know little.
_base_ = ['digits_student.py']
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(type='OnlineTeacher', num_peers=1),
        losses=dict(
            kd=dict(
                loss_weight=dict(value=1.0, warmup=30, by_epoch=True),
                temperature=4.0),
            picd=dict(
                loss_weight=dict(value=0.3, warmup=30, by_epoch=True),
                num_positives=16),
            nicd=dict(
                loss_weight=dict(value=1.0, warmup=30, by_epoch=True),
                num_negatives=32)))
]
