# The student's config plus one hook.
_base_ = ['tin100_32px_resnet20.py', '../_base_/methods/ickd_100_classes.py']

checkpoint_hint = (
    'Train the teacher first: python tools/train.py configs/small/tin100_32px_resnet56.py')
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'] = dict(
    cfg='configs/small/tin100_32px_resnet56.py',
    checkpoint='work_dirs/tin100_32px_resnet56/epoch_240.pth')
