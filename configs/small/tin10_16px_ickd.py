# The student's config plus one hook, with the weights of the demo's digits.
_base_ = ['tin10_16px_student.py', '../_base_/methods/ickd_100_classes.py']

checkpoint_hint = (
    'Train the teacher first: python tools/train.py configs/small/tin10_16px_teacher.py')
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'] = dict(
    cfg='configs/small/tin10_16px_teacher.py',
    checkpoint='work_dirs/tin10_16px_teacher/epoch_60.pth')
custom_hooks[0]['losses']['kd'].update(loss_weight=3.0)
custom_hooks[0]['losses']['nicd'].update(loss_weight=1.0)
