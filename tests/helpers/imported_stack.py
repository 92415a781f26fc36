"""Imported by the process that the tests' processes are forked from."""

from mmickd.experiments.fork_server import import_stack

import_stack()
