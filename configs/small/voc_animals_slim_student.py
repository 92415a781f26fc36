# The student alone: the teacher's recipe with a third of the channels.
_base_ = ['voc_animals_slim_teacher.py']
model = dict(
    backbone=dict(stem_channels=8, base_channels=8),
    decode_head=dict(in_channels=64, channels=32),
    auxiliary_head=dict(in_channels=32, channels=16))
