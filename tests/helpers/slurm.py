"""Slurm of one node on this machine, without systemd."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.helpers.jobs import is_running, wait_until

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
IS_INSTALLED = all(shutil.which(name, path=PATH) for name in PROGRAMS)
needs_slurm = pytest.mark.skipif(
    not IS_INSTALLED or os.geteuid() != 0,
    reason="needs root and Slurm: apt-get install slurm-wlm munge (.ci/packages does it)",
)
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""


class OneNodeSlurm:
    """Running Slurm with the partitions ``debug`` and ``urgent``, whose jobs preempt the others.

    Args:
        root: Folder for its files; the path must be short, as sockets lie in it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {"SLURM_CONF": str(root / "slurm.conf"), "PATH": PATH}

    def start(self) -> None:
        """Start the daemons, and wait until the node is idle."""
        host = socket.gethostname().partition(".")[0]
        for folder in ("state", "spool"):
            (self.root / folder).mkdir()
        config = self.root / "slurm.conf"
        config.write_text(CONFIG.format(host=host, root=self.root, ports=free_ports()))
        (self.root / "munge.key").write_bytes(os.urandom(128))
        (self.root / "munge.key").chmod(0o400)
        options = {
            "socket": "munge.socket", "key-file": "munge.key", "log-file": "munged.log",
            "pid-file": "munged.pid", "seed-file": "munged.seed",
        }  # fmt: skip
        self.run("munged", "--force", *(f"--{key}={self.root / f}" for key, f in options.items()))
        self.run("slurmctld", "-f", str(config))
        self.run("slurmd", "-f", str(config), "-N", host)
        wait_until(lambda: "idle" in self.run("sinfo", "-h", "-o", "%T"), "the node is idle", 30)

    def run(self, *command: str) -> str:
        """Run a command and return its output; it must succeed."""
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # daemons keep it open
            env={**os.environ, **self.env},
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, command
        return done.stdout

    def states(self) -> list[str]:
        """Return the states of the jobs that have not ended."""
        return self.run("squeue", "-h", "-o", "%T").split()

    def stop(self) -> None:
        """Cancel all jobs and stop the daemons by their process ids."""
        with suppress(AssertionError):
            self.run("scancel", "-u", "root")
            wait_until(lambda: not self.states(), "the jobs ended", 30)
        for name in ("slurmd", "slurmctld", "munged"):
            with suppress(OSError, ValueError):
                pid = int((self.root / f"{name}.pid").read_text())
                os.kill(pid, signal.SIGTERM)
                end = time.monotonic() + 15
                while is_running(pid) and time.monotonic() < end:
                    time.sleep(0.1)


def free_ports() -> tuple[int, int]:
    """Return two ports that are free."""
    with socket.socket() as first, socket.socket() as second:
        for sock in (first, second):
            sock.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
