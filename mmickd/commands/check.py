"""Check a config before it trains: teacher, data, bank, and a few steps."""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Sequence

from mmengine.config import Config

from mmickd.commands.arguments import (
    add_config_arguments,
    integer,
    read_config,
    run_command,
)
from mmickd.commands.checking.collect import collect
from mmickd.commands.checking.report import CheckReport, findings_as_json
from mmickd.commands.checking.size import sample_size
from mmickd.commands.launching import check_amp
from mmickd.commands.terminal import add_json_argument, console
from mmickd.diagnostics.finding import Finding
from mmickd.hooks.needed_files import check_files
from mmickd.utils.errors import ICKDError
from mmickd.utils.json_files import write_json


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=f"{__doc__} Nothing is trained or saved.",
        epilog="exit code: 0 OK, 1 with warnings, 2 if the run cannot begin",
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--images",
        type=lambda text: integer(text, least=2),
        metavar="N",
        help="training images of the small bank (default: 512, or 8 per class if that is more; 64 "
        "for segmenters)",
    )
    add_json_argument(parser)
    return parser.parse_args(argv)


def _collect(cfg: Config, images: int) -> CheckReport:
    try:
        return collect(cfg, images)
    except ICKDError:
        raise
    except Exception as error:  # any error of other packages
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ICKDError(
            f"the run cannot begin: {type(error).__name__}: {error} ({place.filename}, line "
            f"{place.lineno}; train with this config to see the whole traceback)."
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Check a config.

    Returns:
        0 if all checks pass, 1 if there are warnings.

    Raises:
        ICKDError: If the run cannot begin; it is written as JSON, too.
    """
    args, terminal = parse_args(argv), console()
    try:
        cfg = read_config(args.config, args.cfg_options)
        check_files(cfg)
        check_amp(cfg)
        cfg.log_level = "ERROR"  # warnings are printed at the end
        images = args.images or sample_size(cfg)
        terminal.print(f"Checking {args.config}, with at most {images} images in the bank ...")
        with terminal.status("model, teacher, data, bank, a few steps"):
            report = _collect(cfg, images)
    except ICKDError as error:
        if args.json:
            findings = findings_as_json([Finding("run_cannot_begin", "error", str(error))])
            values = {"error": str(error), "warnings": [], "notes": [], "findings": findings}
            write_json(args.json, values)
        raise
    report.print(terminal)
    if args.json:
        write_json(args.json, report.to_json())
        terminal.print(f"JSON file: {args.json}")
    return int(bool(report.warnings))


if __name__ == "__main__":
    run_command(main)
