_base_ = [
    '../_base_/models/deeplabv3_r50-d8_slim.py', '../_base_/datasets/camvid_slim.py',
    '../_base_/schedules/camvid_slim_1k.py', '../_base_/mmseg_runtime.py'
]
