"""Teachers: whoever the student learns from."""

from mmickd.teachers.base import Lesson, Source, Teacher
from mmickd.teachers.network import NetworkTeacher
from mmickd.teachers.offline import OfflineTeacher
from mmickd.teachers.online import OnlineTeacher
from mmickd.teachers.self_teacher import SelfTeacher

__all__ = [
    "Lesson",
    "NetworkTeacher",
    "OfflineTeacher",
    "OnlineTeacher",
    "SelfTeacher",
    "Source",
    "Teacher",
]
