# PS-KD with the published weight, over the 60 epochs of the run.
_base_ = ['../demo/digits_student.py', '../_base_/methods/pskd.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['losses']['kd']['loss_weight'].update(warmup=60)
