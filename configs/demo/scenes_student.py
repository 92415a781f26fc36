# The student, trained by the task loss alone: a thin FCN with logits at a quarter of the
# resolution.
_base_ = ['_base_/scenes_data.py', '_base_/scenes_runtime.py']
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(
        type='ResNetV1c',
        depth=18,
        stem_channels=16,
        base_channels=12,
        num_stages=3,
        strides=(1, 1, 1),
        dilations=(1, 2, 4),
        out_indices=(0, 1, 2),
        norm_cfg=norm_cfg,
        norm_eval=False,
        style='pytorch',
        zero_init_residual=False,
        contract_dilation=True),
    decode_head=dict(
        type='FCNHead',
        in_channels=48,
        in_index=2,
        channels=48,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=11,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(
            type='CrossEntropyLoss',
            use_sigmoid=False,
            loss_weight=1.0,
            class_weight=[0.2] + [1.0] * 10)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
