# The student's config plus one hook.
_base_ = ['../baselines/resnet8x4_cifar100.py', '../_base_/methods/ickd_100_classes.py']

checkpoint_hint = (
    'Train the teacher first: python tools/train.py configs/teachers/resnet32x4_cifar100.py')
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'] = dict(
    cfg='configs/teachers/resnet32x4_cifar100.py',
    checkpoint='work_dirs/resnet32x4_cifar100/epoch_240.pth')
