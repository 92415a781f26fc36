"""Scripts that are forked from a process with their imports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmickd.experiments.fork_server import ForkedProcess, ForkServer, can_fork
from mmickd.experiments.launch import environment
from tests.helpers.jobs import is_running, wait_until

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, os, sys, time
imported = "mmickd.hooks" in sys.modules
import beside
if sys.argv[1] == "fail":
    raise ValueError("the reason")
if sys.argv[1] == "exit":
    sys.exit(3)
if sys.argv[1] == "sleep":
    time.sleep(120)
if __name__ == "__main__":
    print(json.dumps([sys.argv, __file__, os.environ["COLOUR"], imported]))
    print("an error", file=sys.stderr)
"""
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks on Linux only")


def wait(process: ForkedProcess) -> int:
    wait_until(lambda: process.poll() is not None, "the run ended")
    code = process.poll()
    assert code is not None
    return code


@on_linux
def test_scripts_run_as_in_a_new_python(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("")
    script, module = tmp_path / "script.py", tmp_path / "module.py"
    script.write_text(SCRIPT)
    module.write_text(SCRIPT)
    server = ForkServer({**environment(), "COLOUR": "blue"}, tmp_path / "imports.txt")
    env = dict(COLOUR="red", PYTHONPATH=str(tmp_path))

    def start(name: str, *arguments: str) -> ForkedProcess:
        return server([sys.executable, *arguments], tmp_path / name, env)

    processes = [
        start("script", str(script), "a", "b c"),
        start("bad", str(script), "fail"),
        start("exit", str(script), "exit"),
    ]
    assert [wait(process) for process in processes] == [0, 1, 3]
    *_, line, error = (tmp_path / "script").read_text().splitlines()
    assert json.loads(line) == [[str(script), "a", "b c"], str(script), "red", True]
    assert error == "an error"
    assert "ValueError: the reason" in (tmp_path / "bad").read_text()

    slow = start("slow", str(script), "sleep")
    assert slow.poll() is None
    slow.send_signal(signal.SIGTERM)
    assert wait(slow) == -signal.SIGTERM
    slow.send_signal(signal.SIGKILL)  # it has ended: nothing to do

    assert wait(start("module", "-m", "platform")) == 0
    assert "Linux" in (tmp_path / "module").read_text()


@on_linux
def test_signals_to_a_new_run_are_not_lost(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "script.py").write_text(SCRIPT)
    server = ForkServer(environment(), tmp_path / "imports.txt")
    for _ in range(20):
        run = server([sys.executable, str(tmp_path / "script.py"), "sleep"], tmp_path / "log", {})
        os.kill(run.pid, signal.SIGTERM)
        assert wait(run) == -signal.SIGTERM


@on_linux
def test_runs_end_with_their_server(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "script.py").write_text(SCRIPT)
    server = ForkServer(environment(), tmp_path / "imports.txt")
    slow = server([sys.executable, str(tmp_path / "script.py"), "sleep"], tmp_path / "log", {})
    server._server.terminate()  # as a signal to all processes of the command: no effect
    assert slow.poll() is None
    server._server.kill()
    server._server.wait()
    assert slow.poll() == -signal.SIGTERM
    wait_until(lambda: not is_running(slow.pid), "the run ended")
    with pytest.raises(OSError):
        server([sys.executable, "-c", ""], tmp_path / "log", {})


DRIVER = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from mmickd.experiments.launch import environment, spawn
from mmickd.experiments.fork_server import ForkServer

folder = Path(sys.argv[1])
launch = ForkServer(environment(), folder / "imports.txt") if sys.argv[3] == "fork" else spawn
run = launch([sys.executable, str(folder / "child.py")], folder / "log", dict(os.environ))
time.sleep(300)
"""
CHILD = """
import os, sys, time
from pathlib import Path
Path(__file__).with_name("pid").write_text(str(os.getpid()) + ".")
time.sleep(300)
"""


@on_linux
@pytest.mark.parametrize("how", ["spawn", "fork"])
def test_runs_end_with_a_process_that_is_killed(how: str, tmp_path: Path) -> None:
    for name, code in (("driver", DRIVER), ("child", CHILD)):
        (tmp_path / f"{name}.py").write_text(code)
    command = [sys.executable, str(tmp_path / "driver.py"), str(tmp_path), str(ROOT), how]
    with subprocess.Popen(command) as driver:
        file = tmp_path / "pid"
        wait_until(lambda: file.is_file() and file.read_text().endswith("."), "the run began")
        driver.kill()
    pid = int(file.read_text()[:-1])
    wait_until(lambda: not is_running(pid), "the run ended", seconds=20)
    assert pid != os.getpid()


@pytest.mark.parametrize(
    ("has_gpu", "platform", "expected"),
    [(False, "linux", True), (True, "linux", False), (False, "darwin", False)],
)
def test_forks_are_for_linux_without_a_gpu(
    has_gpu: bool, platform: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(sys, "platform", platform)
    assert can_fork() is expected
