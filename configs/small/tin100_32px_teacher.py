# The student's recipe with 32 layers.
_base_ = ['tin100_32px_student.py']
model = dict(backbone=dict(depth=32))
