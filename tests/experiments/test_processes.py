"""Jobs that are forked off a process with their imports behind it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmickd.experiments.processes import can_fork
from tests.helpers.jobs import is_running, wait_until

ROOT = Path(__file__).parents[3]

# A process of its own: Python has one process to fork from, and keeps it until the end.
DRIVER = """
import json, subprocess, sys
from pathlib import Path

folder = Path(sys.argv[1])
sys.path[:0] = [sys.argv[2], str(folder)]

from mmickd.experiments.processes import WarmStart


def main():
    print("before", flush=True)
    here = dict(PYTHONPATH=str(folder), COLOUR="blue")
    launch = WarmStart("heavy", here, folder / "imports.txt")
    print("after", flush=True)

    def start(name, *arguments):
        return launch([sys.executable, *arguments], folder / name, dict(COLOUR="red"))

    codes = [
        start("script", str(folder / "script.py"), "a", "b c").wait(),
        start("module", "-m", "module", "d").wait(),
        start("bad", str(folder / "script.py"), "fail").wait(),
        start("exit", str(folder / "script.py"), "exit").wait(),
    ]
    slow = start("slow", str(folder / "script.py"), "sleep")
    late = False
    try:
        slow.wait(0.1)
    except subprocess.TimeoutExpired:
        late = slow.poll() is None
    slow.terminate()
    print(json.dumps(dict(codes=codes, late=late, stopped=slow.wait() != 0)))


if __name__ == "__main__":
    main()
"""

HEAVY = """
import os
print("importing in", os.environ["COLOUR"])
"""

SCRIPT = """
import json, os, sys, time
import beside
if sys.argv[1] == "fail":
    raise ValueError("the reason")
if sys.argv[1] == "exit":
    sys.exit(3)
if sys.argv[1] == "sleep":
    time.sleep(120)
if __name__ == "__main__":
    print(json.dumps([sys.argv, __file__, os.environ["COLOUR"], "heavy" in sys.modules]))
    print("an error", file=sys.stderr)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks on Linux only")
def test_scripts_run_as_if_python_had_been_started(tmp_path: Path) -> None:
    (tmp_path / "heavy.py").write_text(HEAVY)
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "module.py").write_text(SCRIPT)
    (tmp_path / "driver.py").write_text(DRIVER)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "driver.py"), str(tmp_path), str(ROOT)],
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    before, after, outcome = done.stdout.splitlines()
    assert (before, after) == ("before", "after")
    assert json.loads(outcome) == dict(codes=[0, 0, 1, 3], late=True, stopped=True)

    script, module = str(tmp_path / "script.py"), str(tmp_path / "module.py")
    said, error = (tmp_path / "script").read_text().splitlines()
    assert json.loads(said) == [[script, "a", "b c"], script, "red", True]
    assert error == "an error"
    said = (tmp_path / "module").read_text().splitlines()[0]
    assert json.loads(said) == [[module, "d"], module, "red", True]
    assert "ValueError: the reason" in (tmp_path / "bad").read_text()
    # once for all of them, and not on the screen
    assert (tmp_path / "imports.txt").read_text() == "importing in blue\n"


MORTAL = """
import sys, time
from pathlib import Path

folder = Path(sys.argv[1])
sys.path[:0] = [sys.argv[2], str(folder)]

from mmickd.experiments.processes import WarmStart, spawn

if __name__ == "__main__":
    forked = sys.argv[3] == "fork"
    launch = WarmStart("json", {}, folder / "imports.txt") if forked else spawn
    run = launch([sys.executable, str(folder / "child.py")], folder / "log", {})
    time.sleep(300)
"""

CHILD = """
import os, sys, time
from pathlib import Path
Path(__file__).with_name("pid").write_text(str(os.getpid()) + ".")
time.sleep(300)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells them")
@pytest.mark.parametrize("how", ["spawn", "fork"])
def test_runs_end_with_a_process_that_is_killed(how: str, tmp_path: Path) -> None:
    for name, code in (("driver", MORTAL), ("child", CHILD)):
        (tmp_path / f"{name}.py").write_text(code)
    command = [sys.executable, str(tmp_path / "driver.py"), str(tmp_path), str(ROOT), how]
    with subprocess.Popen(command) as driver:
        file = tmp_path / "pid"
        wait_until(lambda: file.is_file() and file.read_text().endswith("."), "the run began")
        driver.kill()
    pid = int(file.read_text()[:-1])
    wait_until(lambda: not is_running(pid), "the run ended", seconds=20)


@pytest.mark.parametrize(
    ("gpu", "platform", "expected"),
    [(False, "linux", True), (True, "linux", False), (False, "darwin", False)],
)
def test_forks_are_for_linux_without_a_gpu(
    gpu: bool, platform: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(sys, "platform", platform)
    assert can_fork() is expected
