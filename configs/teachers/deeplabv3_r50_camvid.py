# One GPU, 8 images: mmsegmentation's 40k schedule on 360x360 crops.
_base_ = [
    '../_base_/models/deeplabv3_r50-d8.py', '../_base_/datasets/camvid.py',
    '../_base_/schedules/schedule_40k.py', '../_base_/mmseg_runtime.py'
]
model = dict(
    data_preprocessor=dict(size=(360, 360)),
    decode_head=dict(num_classes=11),
    auxiliary_head=dict(num_classes=11))
