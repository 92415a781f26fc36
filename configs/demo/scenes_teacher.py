# The student's recipe with more channels.
_base_ = ['scenes_student.py']
model = dict(
    backbone=dict(stem_channels=20, base_channels=20),
    decode_head=dict(in_channels=80, channels=80))
