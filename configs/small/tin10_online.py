# IC-KD between two peers, each the other's teacher. The weights grow over the first half of the
# run.
_base_ = ['tin10_student.py', '../_base_/methods/ickd_10_classes_growing.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'] = dict(type='OnlineTeacher', num_peers=1)
custom_hooks[0]['losses']['kd']['loss_weight'].update(warmup=15)
custom_hooks[0]['losses']['picd']['loss_weight'].update(warmup=15)
custom_hooks[0]['losses']['nicd']['loss_weight'].update(value=0.3, warmup=15)
