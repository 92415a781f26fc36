"""Teachers: building, loading, preprocessing."""

from mmickd.teachers.offline import OfflineTeacher

__all__ = ["OfflineTeacher"]
