# The student's config plus one hook: a peer of the same architecture is trained beside it, and each
# is the other's teacher. The weights grow over the first 500 of 1000 iterations.
_base_ = ['../baselines/deeplabv3_r18_camvid_slim.py', '../_base_/methods/ickd_pixels_growing.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'] = dict(type='OnlineTeacher', num_peers=1)
custom_hooks[0]['anchors'] = 64
custom_hooks[0]['losses']['kd']['loss_weight'].update(warmup=500)
custom_hooks[0]['losses']['picd']['loss_weight'].update(warmup=500)
custom_hooks[0]['losses']['nicd']['loss_weight'].update(warmup=500)
