# Tf-KD from an earlier run of the student. KD has the best of three weights (README.md).
_base_ = ['../demo/digits_student.py', '../_base_/methods/tfkd.py']

checkpoint_hint = (
    'Train the student alone first: '
    'python tools/train.py configs/demo/digits_student.py --seed 100')
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'].update(
    checkpoint='work_dirs/digits_student/epoch_60.pth')
custom_hooks[0]['losses']['kd'].update(loss_weight=0.2)
