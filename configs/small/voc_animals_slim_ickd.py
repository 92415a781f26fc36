# The student's config plus one hook. Small images: fewer anchors and a smaller bank.
_base_ = ['voc_animals_slim_student.py', '../_base_/methods/ickd_pixels.py']

checkpoint_hint = (
    'Train the teacher first: python tools/train.py configs/small/voc_animals_slim_teacher.py')
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'] = dict(
    cfg='configs/small/voc_animals_slim_teacher.py',
    checkpoint='work_dirs/voc_animals_slim_teacher/iter_2000.pth')
custom_hooks[0]['anchors'] = 64
custom_hooks[0]['bank'].update(capacity_per_class=512)
