"""What lies in a cache of banks: listed, verified, pruned."""

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
from mmickd.utils.quoting import one_line

HEAD = ("folder", "level", "teacher", "rows", "classes", "MiB", "last used", "state")
WIDTHS = {"level": 10, "teacher": 24, "rows": 10, "classes": 7}
"""Characters that are shown of what a manifest says, so that a row is a line."""


def list_banks(args: argparse.Namespace) -> None:
    """Print a table, the bank used last at its end."""
    cache = BankCache(args.cache_dir)
    found = [facts_of(entry) for entry in cache.entries()]
    if found:
        console().print(table("memory banks", HEAD, [_row(facts) for facts in found]))
    print(_total(cache))
    if args.json is not None:
        write_json(args.json, {"cache_dir": str(cache.root), "banks": found})


def facts_of(entry: Entry) -> dict[str, Any]:
    """What the manifest says of a bank; its tensors are not looked at."""
    facts: dict[str, Any] = {
        **dict.fromkeys(WIDTHS, ""),
        "folder": entry.folder.name,
        "bytes": entry.nbytes,
        "last_used": time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used)),
        "state": "incomplete",
    }
    if entry.is_whole:
        try:
            manifest = read_manifest(entry.folder)
            about = manifest["about"] if isinstance(manifest.get("about"), dict) else {}
            names = [about.get(f"teacher_{key}") for key in ("checkpoint", "config")]
            facts["level"] = manifest["fields"].get("level", "")
            facts["teacher"] = ", ".join(str(name) for name in names if name)
            facts["rows"] = manifest.get("rows", "")
            facts["classes"] = manifest.get("num_classes", "")
            facts["state"] = "ok" if manifest.get("format") == FORMAT_VERSION else "other format"
        except Exception:  # whatever a file leads to that anybody may have written
            facts["state"] = "broken"
    return facts


def _row(facts: dict[str, Any]) -> tuple[str, ...]:
    shown = [one_line(facts[key], width) for key, width in WIDTHS.items()]
    size = f"{facts['bytes'] / 2**20:.1f}"
    return facts["folder"], *shown, size, facts["last_used"], facts["state"]


def verify(args: argparse.Namespace) -> int:
    """Read every bank, and print a line for each as soon as it is read.

    Returns:
        1 if a bank, or the names of its images, cannot be used, else 0.
    """
    cache, found = BankCache(args.cache_dir), []
    for entry in cache.entries():
        fault, names, state = entry.fault(), "", facts_of(entry)["state"]
        line = fault or "ok"
        if state == "other format":
            line = fault or "skipped, it is of another format"
        elif not fault and (names := entry.fault_of_names()):
            line = f"ok, but {names}"
        print(f"{entry.folder.name}: {line}", flush=True)
        found.append({"folder": entry.folder.name, "fault": fault, "fault_of_names": names})
    broken = sum(bool(one["fault"]) for one in found)
    print(f"{broken} broken in {cache.root}")
    if args.json is not None:
        write_json(args.json, {"cache_dir": str(cache.root), "banks": found, "broken": broken})
    return int(any(one["fault"] or one["fault_of_names"] for one in found))


def prune(args: argparse.Namespace) -> None:
    """Remove what the arguments choose."""
    cache = BankCache(args.cache_dir)
    oldest = time.time() - (args.older_than or 0) * 24 * 3600

    def wanted(entry: Entry) -> bool:
        old = args.older_than is not None and entry.used < oldest
        return args.all or old or (args.broken and bool(entry.fault()))

    verb = "would remove" if args.dry_run else "removed"
    chosen = cache.prune(wanted, args.max_gib, dry_run=args.dry_run)
    for entry, gone in chosen:
        about = f"{entry.folder.name} ({entry.nbytes / 2**20:.1f} MiB)"
        print(f"{verb} {about}" if gone else f"kept {about}: it is in use, or cannot be removed")
    if not args.dry_run:
        print(_total(cache))
    if args.json is not None:
        names = {
            key: [entry.folder.name for entry, gone in chosen if gone == is_gone]
            for key, is_gone in (("removed", True), ("kept", False))
        }
        write_json(args.json, {"cache_dir": str(cache.root), **names, "dry_run": args.dry_run})


def _total(cache: BankCache) -> str:
    found = cache.entries()
    gib = sum(entry.nbytes for entry in found) / 2**30
    return f"{len(found)} bank{'s' * (len(found) != 1)}, {gib:.2f} GiB in {cache.root}"
