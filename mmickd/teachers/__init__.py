"""Teachers: building, loading, preprocessing."""

from mmickd.teachers.base import BaseTeacher
from mmickd.teachers.offline import OfflineTeacher
from mmickd.teachers.online import OnlineTeacher
from mmickd.teachers.self_teacher import SelfTeacher

__all__ = ["BaseTeacher", "OfflineTeacher", "OnlineTeacher", "SelfTeacher"]
