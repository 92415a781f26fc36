"""``bank list``, ``bank verify`` and ``bank prune``: the banks in a cache."""

from __future__ import annotations

import argparse
import time
from typing import Any

from mmickd.commands.terminal import console, table
from mmickd.storage.bank_files import FORMAT_VERSION
from mmickd.storage.cache import BankCache
from mmickd.storage.entry import Entry
from mmickd.storage.files import read_manifest
from mmickd.utils.json_files import write_json
from mmickd.utils.text import shorten

HEAD = ("folder", "level", "teacher", "rows", "classes", "MiB", "last used", "state")
WIDTHS = {"level": 10, "teacher": 24, "rows": 10, "classes": 7}
"""Maximum number of characters of a value in the table, so that a bank takes one line."""


def list_banks(args: argparse.Namespace) -> None:
    """Print a table of the banks, the most recently used last."""
    cache = BankCache(args.cache_dir)
    banks = [bank_as_json(entry) for entry in cache.entries()]
    if banks:
        console().print(table("memory banks", HEAD, [_row(bank) for bank in banks]))
    print(_total(cache))
    if args.json is not None:
        write_json(args.json, {"cache_dir": str(cache.root), "banks": banks})


def bank_as_json(entry: Entry) -> dict[str, Any]:
    """Return the entry of a bank in the JSON file, without reading its tensors."""
    bank: dict[str, Any] = {
        **dict.fromkeys(WIDTHS, ""),
        "folder": entry.folder.name,
        "bytes": entry.nbytes,
        "last_used": time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used)),
        "state": "incomplete",
    }
    if entry.is_whole:
        try:
            manifest = read_manifest(entry.folder)
            description = manifest["about"] if isinstance(manifest.get("about"), dict) else {}
            names = [description.get(f"teacher_{key}") for key in ("checkpoint", "config")]
            bank["level"] = manifest["fields"].get("level", "")
            bank["teacher"] = ", ".join(str(name) for name in names if name)
            bank["rows"] = manifest.get("rows", "")
            bank["classes"] = manifest.get("num_classes", "")
            bank["state"] = "ok" if manifest.get("format") == FORMAT_VERSION else "other format"
        except Exception:  # the file may hold anything
            bank["state"] = "broken"
    return bank


def _row(bank: dict[str, Any]) -> tuple[str, ...]:
    values = [shorten(bank[key], width) for key, width in WIDTHS.items()]
    size = f"{bank['bytes'] / 2**20:.1f}"
    return bank["folder"], *values, size, bank["last_used"], bank["state"]


def verify(args: argparse.Namespace) -> int:
    """Read every bank, and print a line for each as soon as it is read.

    Returns:
        1 if a bank, or the names of its images, cannot be used, else 0.
    """
    cache, results = BankCache(args.cache_dir), []
    for entry in cache.entries():
        fault, fault_of_names, state = entry.fault(), "", bank_as_json(entry)["state"]
        line = fault or "ok"
        if state == "other format":
            line = fault or "skipped, it has another format"
        elif not fault and (fault_of_names := entry.fault_of_names()):
            line = f"ok, but {fault_of_names}"
        print(f"{entry.folder.name}: {line}", flush=True)
        results.append(
            {"folder": entry.folder.name, "fault": fault, "fault_of_names": fault_of_names}
        )
    broken = sum(bool(result["fault"]) for result in results)
    print(f"{broken} broken in {cache.root}")
    if args.json is not None:
        write_json(args.json, {"cache_dir": str(cache.root), "banks": results, "broken": broken})
    return int(any(result["fault"] or result["fault_of_names"] for result in results))


def prune(args: argparse.Namespace) -> None:
    """Remove the banks that the arguments select."""
    cache = BankCache(args.cache_dir)
    oldest = time.time() - (args.older_than or 0) * 24 * 3600

    def is_selected(entry: Entry) -> bool:
        is_old = args.older_than is not None and entry.used < oldest
        return args.all or is_old or (args.broken and bool(entry.fault()))

    verb = "would remove" if args.dry_run else "removed"
    selected = cache.prune(is_selected, args.max_gib, dry_run=args.dry_run)
    for entry, is_gone in selected:
        bank = f"{entry.folder.name} ({entry.nbytes / 2**20:.1f} MiB)"
        print(f"{verb} {bank}" if is_gone else f"kept {bank}: it is in use, or cannot be removed")
    if not args.dry_run:
        print(_total(cache))
    if args.json is not None:
        names = {
            key: [entry.folder.name for entry, is_gone in selected if is_gone == value]
            for key, value in (("removed", True), ("kept", False))
        }
        write_json(args.json, {"cache_dir": str(cache.root), **names, "dry_run": args.dry_run})


def _total(cache: BankCache) -> str:
    banks = cache.entries()
    gib = sum(entry.nbytes for entry in banks) / 2**30
    return f"{len(banks)} bank{'s' * (len(banks) != 1)}, {gib:.2f} GiB in {cache.root}"
