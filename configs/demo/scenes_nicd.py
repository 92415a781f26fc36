# NICD alone with a falling weight (recipe nicd_pixels.py). tools/study.py sets the path of its
# teacher.
_base_ = ['scenes_student.py', '../_base_/methods/nicd_pixels.py']

checkpoint_hint = (
    'Train the teacher first: python tools/train.py configs/demo/scenes_teacher.py')
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'] = dict(
    cfg='configs/demo/scenes_teacher.py',
    checkpoint='work_dirs/scenes_teacher/iter_500.pth')
custom_hooks[0].update(
    anchors=64,
    bank=dict(capacity_per_class=512, pixels_per_image=8, cache_dir=None))
