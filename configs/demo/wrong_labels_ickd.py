# The teacher has memorised label errors. DIST uses neighbour targets instead of its predictions:
# the averaged predictions of the 16 rows that are most similar in an earlier layer of the teacher.
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
