# Tf-KD: the teacher is an earlier run of the student.
_base_ = ['resnet8x4_tin100.py', '../_base_/methods/tfkd.py']

checkpoint_hint = (
    'Train the student alone first: '
    'python tools/train.py configs/baselines/resnet8x4_tin100.py --seed 100')
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'].update(
    checkpoint='work_dirs/resnet8x4_tin100/epoch_240.pth')
