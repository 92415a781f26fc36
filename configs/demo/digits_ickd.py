# The student's config plus one hook. tools/demo.py sets the path of its teacher.
_base_ = ['digits_student.py']
checkpoint_hint = (
    'Train the teacher first: python tools/train.py configs/demo/digits_teacher.py')
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(
            cfg='configs/demo/digits_teacher.py',
            checkpoint='work_dirs/digits_teacher/epoch_80.pth'),
        bank=dict(cache_dir=None),
        losses=dict(
            kd=dict(loss_weight=3.0, temperature=4.0),
            picd=dict(loss_weight=0.3, num_positives=16),
            nicd=dict(loss_weight=1.0, num_negatives=32)))
]
