# The student's config plus one hook, whose teacher is the student's moving average. KD has the best
# of the weights in README.md.
_base_ = ['digits_student.py', '../_base_/methods/ickd_10_classes_growing.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'] = dict(type='SelfTeacher', mode='ema', momentum=0.01, warmup=10)
custom_hooks[0]['losses']['kd']['loss_weight'].update(value=0.1)
