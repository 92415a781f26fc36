"""What print_log says to the current logger, in this process."""

from __future__ import annotations

import logging
import uuid

from mmengine.logging import MMLogger


class Heard(logging.Handler):
    """Keeps records."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)

    def records(self, level: int) -> list[str]:
        """Messages of this level."""
        return [record.getMessage() for record in self._records if record.levelno == level]

    def warnings(self) -> list[str]:
        return self.records(logging.WARNING)


def hear() -> Heard:
    """A new current logger that keeps what is said to it."""
    logger = MMLogger.get_instance(f"heard_{uuid.uuid4().hex}", log_level="INFO")
    heard = Heard()
    logger.addHandler(heard)
    return heard
