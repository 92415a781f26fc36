# The teacher has memorised label errors (recipe neighbour_targets.py).
_base_ = ['wrong_labels_student.py', '../_base_/methods/neighbour_targets.py']

checkpoint_hint = (
    'Train the teacher first: python tools/train.py configs/demo/wrong_labels_teacher.py')
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'].update(
    cfg='configs/demo/wrong_labels_teacher.py',
    checkpoint='work_dirs/wrong_labels_teacher/epoch_80.pth')
custom_hooks[0]['bank'] = dict(cache_dir=None)
