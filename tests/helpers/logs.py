"""Messages of print_log to the current logger, in this process."""

from __future__ import annotations

import logging
import uuid

from mmengine.logging import MMLogger

BUILDS, REASON, READS = "Building the memory bank", "Building: ", "memory bank from "
"""Beginnings of the lines that a bank is built, why it is not read from the cache, or is read."""


def lines_with(log: str, part: str) -> list[str]:
    """Return the lines of ``log`` that contain ``part``."""
    return [line for line in log.splitlines() if part in line]


class LogRecorder(logging.Handler):
    """Handler that keeps the records of a logger."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)

    def records(self, level: int) -> list[str]:
        """Return the messages of this level."""
        return [record.getMessage() for record in self._records if record.levelno == level]

    def warnings(self) -> list[str]:
        return self.records(logging.WARNING)


def record_log() -> LogRecorder:
    """Make a new current logger and record its messages."""
    logger = MMLogger.get_instance(f"recorded_{uuid.uuid4().hex}", log_level="INFO")
    recorder = LogRecorder()
    logger.addHandler(recorder)
    return recorder
