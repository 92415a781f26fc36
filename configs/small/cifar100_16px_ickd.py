# The student's config plus one hook.
_base_ = ['cifar100_16px_student.py', '../_base_/methods/ickd_100_classes.py']

checkpoint_hint = (
    'Train the teacher first: python tools/train.py configs/small/cifar100_16px_teacher.py')
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'] = dict(
    cfg='configs/small/cifar100_16px_teacher.py',
    checkpoint='work_dirs/cifar100_16px_teacher/epoch_20.pth')
