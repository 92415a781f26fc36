# IC-KD among two twins, each the other's teacher. The weights grow from 0 over the first half.
_base_ = ['tin10_student.py']

custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(type='OnlineTeacher', num_peers=1),
        losses=dict(
            kd=dict(
                loss_weight=dict(value=1.0, warmup=15, by_epoch=True),
                temperature=4.0),
            picd=dict(
                loss_weight=dict(value=0.3, warmup=15, by_epoch=True),
                num_positives=16),
            nicd=dict(
                loss_weight=dict(value=0.3, warmup=15, by_epoch=True),
                num_negatives=32)))
]
