"""Imported by the process that runs are forked off: it ends with the one that started it."""

from mmickd.commands.comparing.processes import end_with_parent

end_with_parent()
