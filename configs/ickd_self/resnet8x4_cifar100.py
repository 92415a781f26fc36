# The student's config plus one hook, whose teacher is the student's moving average.
_base_ = ['../baselines/resnet8x4_cifar100.py', '../_base_/methods/ickd_100_classes_growing.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'] = dict(type='SelfTeacher', mode='ema', momentum=0.001, warmup=10)
