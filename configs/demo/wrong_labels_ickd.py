# In the place of the labels, and of what the teacher learnt of them by heart: DIST towards the
# votes of the 16 rows that an earlier layer of the teacher finds most alike.
_base_ = ['wrong_labels_student.py']
checkpoint_hint = (
    'Train the teacher first: python tools/train.py configs/demo/wrong_labels_teacher.py')
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(
            cfg='configs/demo/wrong_labels_teacher.py',
            checkpoint='work_dirs/wrong_labels_teacher/epoch_80.pth',
            features='backbone.layer2'),
        bank=dict(cache_dir=None),
        losses=dict(
            task=dict(loss_weight=0.0),
            kd=dict(
                type='ContextKDLoss',
                num_rows=16,
                temperature=4.0,
                loss=dict(type='DISTLoss')),
            picd=None,
            nicd=None))
]
