"""Teachers, which own the networks that the student distils from."""

from mmickd.teachers.base import PeerStep, Source, Teacher
from mmickd.teachers.network import NetworkTeacher
from mmickd.teachers.offline import OfflineTeacher
from mmickd.teachers.online import OnlineTeacher
from mmickd.teachers.self_teacher import SelfTeacher

__all__ = [
    "PeerStep",
    "NetworkTeacher",
    "OfflineTeacher",
    "OnlineTeacher",
    "SelfTeacher",
    "Source",
    "Teacher",
]
