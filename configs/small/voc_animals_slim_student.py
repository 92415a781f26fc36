# The student alone: DeepLabV3-R18 with an eighth of the channels, from scratch, 1,000 iterations.
# Rare classes are only learned with class weights: square roots of median-frequency weights.
_base_ = [
    '../_base_/models/deeplabv3_r50-d8_slim.py', '../_base_/datasets/voc_animals.py',
    '../_base_/schedules/camvid_slim_1k.py', '../_base_/mmseg_runtime.py'
]
class_weight = [0.19, 0.47, 1.05, 0.5, 0.92, 1.07, 1.0, 1.83, 1.29]
data_preprocessor = dict(size=(96, 96))
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(depth=18, stem_channels=8, base_channels=8),
    decode_head=dict(
        in_channels=64,
        channels=32,
        num_classes=9,
        loss_decode=dict(class_weight=class_weight)),
    auxiliary_head=dict(
        in_channels=32,
        channels=16,
        num_classes=9,
        loss_decode=dict(class_weight=class_weight)))
