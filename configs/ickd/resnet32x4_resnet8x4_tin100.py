# The student's config plus one hook. With about 100 classes the weights of KD and NICD want to be
# larger than their defaults.
_base_ = ['../baselines/resnet8x4_tin100.py']

checkpoint_hint = (
    'Train the teacher first: python tools/train.py configs/teachers/resnet32x4_tin100.py')
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(
            cfg='configs/teachers/resnet32x4_tin100.py',
            checkpoint='work_dirs/resnet32x4_tin100/epoch_240.pth'),
        level='image',
        losses=dict(
            kd=dict(loss_weight=4.0, temperature=4.0),
            picd=dict(loss_weight=0.3, num_positives=16),
            nicd=dict(loss_weight=5.0, num_negatives=32)))
]
