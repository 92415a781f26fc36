"""Look at a config before it trains: does all fit, what does the teacher know and its bank hold?"""

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
from mmickd.commands.checking.collect import look
from mmickd.commands.checking.console import show
from mmickd.commands.checking.report import CheckReport
from mmickd.commands.checking.size import sample_size
from mmickd.commands.checking.to_json import as_json
from mmickd.commands.launching import check_amp
from mmickd.commands.terminal import add_json_argument, console
from mmickd.hooks.needed_files import check_files
from mmickd.utils.errors import ICKDError
from mmickd.utils.json_files import write_json


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=f"{__doc__} Nothing is trained or kept.",
        epilog="exit code: 0 sound, 1 with warnings, 2 if the run cannot begin",
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--images",
        type=lambda text: integer(text, least=2),
        metavar="N",
        help="training images that the small bank is built from; default: 512, or 8 per class if "
        "those are more; 64 for segmenters",
    )
    add_json_argument(parser)
    return parser.parse_args(argv)


def _look(cfg: Config, images: int) -> CheckReport:
    try:
        return look(cfg, images)
    except ICKDError:
        raise
    except Exception as error:  # whatever other packages raise; it is no mere warning
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ICKDError(
            f"the run cannot begin: {type(error).__name__}: {error} ({place.filename}, line "
            f"{place.lineno}; training with this config shows the way there)."
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Look, as the command line says.

    Returns:
        0 if all is sound, 1 if there are warnings.

    Raises:
        ICKDError: if the run cannot begin; it is written as JSON, too.
    """
    args, shown = parse_args(argv), console()
    try:
        cfg = read_config(args.config, args.cfg_options)
        check_files(cfg)
        check_amp(cfg)
        cfg.log_level = "ERROR"  # warnings are told at the end
        images = args.images or sample_size(cfg)
        shown.print(f"Looking at {args.config}, with at most {images} images in the bank ...")
        with shown.status("model, teacher, data, bank, a few steps"):
            found = _look(cfg, images)
    except ICKDError as error:
        if args.json:
            write_json(args.json, {"error": str(error), "warnings": []})
        raise
    show(found, shown)
    if args.json:
        write_json(args.json, as_json(found))
        shown.print(f"All of it as JSON: {args.json}")
    return int(bool(found.warnings))


if __name__ == "__main__":
    run_command(main)
