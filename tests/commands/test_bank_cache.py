"""``mmickd bank list``, ``verify`` and ``prune`` as a user calls them."""

from __future__ import annotations

import json
import os
import time

import pytest

from mmickd.commands import bank
from mmickd.storage.bank_files import TENSORS
from mmickd.storage.cache import BankCache
from mmickd.storage.files import MANIFEST
from mmickd.storage.image_names import NAMES
from tests.helpers.stored_banks import CACHE_KEY, make_bank


@pytest.fixture
def banks(tmp_path):
    """A cache of four banks: complete, altered, without a manifest, of another format."""
    description = {"teacher_checkpoint": "iter_9.pth", "teacher_config": "deeplab.py"}
    cache = BankCache(tmp_path, description=description)
    folders = [cache.save(make_bank(), {**CACHE_KEY, "images": str(n)}) for n in range(4)]
    data = bytearray((folders[1] / TENSORS).read_bytes())
    data[-1] ^= 1
    (folders[1] / TENSORS).write_bytes(data)
    (folders[2] / MANIFEST).unlink()
    manifest = json.loads((folders[3] / MANIFEST).read_text())
    (folders[3] / MANIFEST).write_text(json.dumps({**manifest, "format": 99}))
    then = time.time() - 5 * 24 * 3600
    os.utime(folders[0] / MANIFEST, (then, then))
    return cache, [folder.name for folder in folders]


def call(capsys, cache, *args):
    """Run a command; return its output lines and exit code."""
    code = bank.main([*args, "--cache-dir", str(cache.root)]) or 0
    return capsys.readouterr().out.splitlines(), code


def results(tmp_path):
    """Read the JSON that ``--json`` wrote."""
    return json.loads((tmp_path / "found.json").read_text())


def left(cache):
    return {path.name for path in cache.root.iterdir() if path.is_dir()}


def test_list(banks, capsys, tmp_path):
    cache, names = banks
    lines, code = call(capsys, cache, "--json", str(tmp_path / "found.json"))
    assert code == 0 and len(lines) == 7
    rows = {line.split()[0]: line for line in lines[2:-1]}
    assert set(rows) == set(names) and lines[2].startswith(names[0])  # least recently used
    states = ["ok", "ok", "incomplete", "other format"]  # list reads no tensors
    for name, state in zip(names, states, strict=True):
        assert rows[name].endswith(f"  {state}")
    assert rows[names[0]].split()[1:6] == ["image", "iter_9.pth,", "deeplab.py", "20", "3"]
    assert lines[-1] == f"4 banks, 0.00 GiB in {cache.root}"
    (first, *_) = results(tmp_path)["banks"]
    assert (first["folder"], first["rows"], first["classes"]) == (names[0], 20, 3)
    assert [facts["state"] for facts in results(tmp_path)["banks"]].count("ok") == 2


def test_verify(banks, capsys, tmp_path):
    cache, names = banks
    lines, code = call(capsys, cache, "verify", "--json", str(tmp_path / "found.json"))
    assert code == 1 and results(tmp_path)["broken"] == 2
    assert {facts["folder"]: bool(facts["fault"]) for facts in results(tmp_path)["banks"]} == dict(
        zip(names, [False, True, True, False], strict=True)
    )
    states = dict(line.split(": ", 1) for line in lines[:-1])
    assert states[names[0]] == "ok" and "another format" in states[names[3]]
    assert "checksum" in states[names[1]] and states[names[2]] == "is incomplete"
    assert lines[-1].startswith("2 broken")
    call(capsys, cache, "prune", "--broken")
    assert left(cache) == {names[0], names[3]}
    assert call(capsys, cache, "verify")[1] == 0


def test_broken_image_names_are_a_fault_but_the_bank_is_kept(banks, capsys):
    cache, names = banks
    call(capsys, cache, "prune", "--broken")
    (cache.root / names[0] / NAMES).write_text('"x"')
    lines, code = call(capsys, cache, "verify")
    assert code == 1 and lines[-1].startswith("0 broken")
    (line,) = (line for line in lines if line.startswith(names[0]))
    assert "ok, but" in line and NAMES in line and "mmickd bank CONFIG" in line
    call(capsys, cache, "prune", "--broken")
    assert left(cache) == {names[0], names[3]}


def test_a_bank_under_a_wrong_name_is_broken(banks, capsys):
    cache, names = banks
    (cache.root / names[0]).rename(cache.root / ("0" * 24))
    lines, code = call(capsys, cache, "verify")
    assert code == 1 and f"{'0' * 24}: does not match the name of its folder" in lines


def test_a_hostile_manifest_is_one_short_row(banks, capsys):
    cache, names = banks
    path = cache.root / names[0] / MANIFEST
    evil = "\x1b[2J\n" * 1000
    for changes in (
        {"about": {"teacher_checkpoint": evil}, "rows": [evil], "num_classes": None},
        {"fields": {"level": {evil: evil}}, "about": [evil]},
        {"format": evil, "fields": {}},
        {"fields": None},
    ):
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        lines, _ = call(capsys, cache)
        lines += call(capsys, cache, "verify")[0]
        assert len(lines) == 7 + 5 and "\x1b" not in "".join(lines)
        assert max(len(line) for line in lines) < 999


def test_prune(banks, capsys, tmp_path):
    cache, names = banks
    lines, _ = call(capsys, cache, "prune", "--older-than", "4", "--dry-run")
    assert len(lines) == 1 and lines[0].startswith(f"would remove {names[0]}")
    assert left(cache) == set(names)
    call(capsys, cache, "prune", "--older-than", "4")
    assert left(cache) == set(names[1:])
    call(capsys, cache, "prune", "--max-gib", "1")
    assert left(cache) == set(names[1:])
    call(capsys, cache, "prune", "--max-gib", "0", "--json", str(tmp_path / "found.json"))
    assert left(cache) == set()
    assert set(results(tmp_path)["removed"]) == set(names[1:]) and results(tmp_path)["kept"] == []


def test_a_bank_in_use_is_kept(banks, capsys):
    cache, names = banks
    with cache.lock({**CACHE_KEY, "images": "0"}):
        lines, code = call(capsys, cache, "prune", "--all")
    assert left(cache) == {names[0]} and code == 0
    assert f"kept {names[0]}" in lines[0] and "in use" in lines[0]
