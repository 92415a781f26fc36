# The student's config plus one hook. tools/demo.py gives the paths of its own teacher.
_base_ = ['scenes_student.py']
checkpoint_hint = (
    'Train the teacher first: python tools/train.py configs/demo/scenes_teacher.py')
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(
            cfg='configs/demo/scenes_teacher.py',
            checkpoint='work_dirs/scenes_teacher/iter_500.pth'),
        level='pixel',
        anchors=64,
        bank=dict(capacity_per_class=512, pixels_per_image=8, cache_dir=None),
        losses=dict(
            kd=dict(loss_weight=0.3, temperature=1.0),
            picd=dict(loss_weight=0.3, num_positives=16),
            nicd=dict(loss_weight=1.0, num_negatives=32)))
]
