# DeepLabV3-R50 with a quarter of the channels (the heads: an eighth), for 128x128 crops (a 16x16
# grid, hence the smaller dilations). Plain BN, for one process, also on a CPU. In so few iterations
# rare classes are only learned with class weights: square roots of CamVid's usual median-frequency
# weights.
_base_ = ['deeplabv3_r50-d8.py']
class_weight = [0.51, 0.43, 2.14, 0.38, 0.95, 0.62, 3.11, 1.36, 0.83, 2.5, 2.71]
norm_cfg = dict(type='BN', requires_grad=True)
data_preprocessor = dict(size=(128, 128))
model = dict(
    data_preprocessor=data_preprocessor,
    pretrained=None,
    backbone=dict(stem_channels=16, base_channels=16, norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=512,
        channels=64,
        dilations=(1, 3, 6, 9),
        num_classes=11,
        norm_cfg=norm_cfg,
        loss_decode=dict(class_weight=class_weight)),
    auxiliary_head=dict(
        in_channels=256,
        channels=32,
        num_classes=11,
        norm_cfg=norm_cfg,
        loss_decode=dict(class_weight=class_weight)))
