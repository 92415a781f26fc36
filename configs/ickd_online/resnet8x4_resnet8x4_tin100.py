# The student's config plus one hook: a peer of the same architecture is trained beside it, and each
# is the other's teacher.
_base_ = ['../baselines/resnet8x4_tin100.py', '../_base_/methods/ickd_100_classes_growing.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'] = dict(type='OnlineTeacher', num_peers=1)
