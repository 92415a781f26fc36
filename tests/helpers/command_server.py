"""Command ``mmickd`` for shell scripts, whose processes start with their imports done."""

from __future__ import annotations

import json
import shlex
import socketserver
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.helpers.forkserver import ROOT, run_python

CLIENT = """\
import json, os, socket, sys

with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    request = {"words": sys.argv[2:], "folder": os.getcwd(), "env": dict(os.environ)}
    connection.sendall(json.dumps(request).encode() + b"\\n")
    answer = json.loads(connection.makefile().read())
sys.stdout.write(answer["text"])
sys.stdout.flush()
sys.exit(answer["code"])
"""
SCRIPT = """\
#!/bin/sh
# A process with other paths for its imports begins anew.
if [ "$PYTHONPATH" != {root} ]; then
    PYTHONPATH="$PYTHONPATH":{root} exec {python} -m mmickd "$@"
fi
exec {python} -SE {client} {socket} "$@"
"""
TIMEOUT = 200
"""Seconds that a command may take."""


class CommandServer:
    """Folder with an executable ``mmickd`` that this process runs (:func:`run_python`).

    Args:
        folder: Existing folder for the executable; put it on ``PATH``.
    """

    def __init__(self, folder: Path) -> None:
        socket, client = folder / "socket", folder / "client.py"
        client.write_text(CLIENT)
        names = dict(root=ROOT, python=sys.executable, client=client, socket=socket)
        script = folder / "mmickd"
        script.write_text(SCRIPT.format(**{k: shlex.quote(str(v)) for k, v in names.items()}))
        script.chmod(0o755)
        self._server = _Server(str(socket), _Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """Run one command and send its exit code and output."""
        request: dict[str, Any] = json.loads(self.rfile.readline())
        words = ["-m", "mmickd", *request["words"]]
        try:
            done = run_python(words, Path(request["folder"]), request["env"], TIMEOUT)
            answer = dict(code=done.returncode, text=done.stdout)
        except subprocess.TimeoutExpired as error:
            answer = dict(code=124, text=f"{error.output}\nstopped after {TIMEOUT} s\n")
        self.wfile.write(json.dumps(answer).encode())
