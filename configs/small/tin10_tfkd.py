# Self-training of Tf-KD (arXiv 1909.11723) from an earlier run of the student.
_base_ = ['tin10_student.py']

checkpoint_hint = (
    'Train the student alone first: '
    'python tools/train.py configs/small/tin10_student.py --seed 100')
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(
            type='SelfTeacher',
            mode='checkpoint',
            checkpoint='work_dirs/tin10_student/epoch_30.pth'),
        losses=dict(
            task=dict(loss_weight='complement'),
            kd=dict(loss_weight=0.2, temperature=4.0),
            picd=None,
            nicd=None))
]
