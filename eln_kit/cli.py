"""The `eln-kit` command."""

import argparse
import json
import os
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed, 2 unusable params or arguments, 130 or 143 stopped by a signal."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        return _complain("interrupted; run the same command to go on", 130)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eln-kit",
        description="Semi-supervised segmentation with an error localization network, in notebooks.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="execute the notebooks with a params file, or go on where they stopped")
    run.add_argument("params", metavar="PARAMS.yaml")
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KNOB=VALUE",
        help="change one knob; may be repeated",
    )
    run.set_defaults(command=_run)
    table = commands.add_parser("table", help="compare finished runs in a Markdown table")
    table.add_argument("runs", metavar="RUN", nargs="+", help="a run folder, such as runs/shapes")
    table.set_defaults(command=_table)
    knobs = commands.add_parser("knobs", help="list every knob with its default and meaning")
    knobs.set_defaults(command=_knobs)
    return parser


def _run(options) -> int:
    from eln_kit import checkpoint, params, params_file, report, run  # slow to import: --help should not wait

    try:
        folder = run.run(params_file.load(options.params, options.set), run.NOTEBOOKS)
    except params.ParamsError as error:
        return _complain(error, 2)
    except (run.RunError, checkpoint.CheckpointError) as error:
        return _complain(error, 1)
    except run.Interrupted as error:
        return _complain(error, 128 + error.number)
    results = folder / report.RESULTS
    if results.is_file():
        print(f"\n{report.table(json.loads(results.read_text()))}\n")
    print(folder / "index.html")
    return 0


def _table(options) -> int:
    from eln_kit import report

    try:
        print(report.compare([Path(run) for run in options.runs]))
    except (OSError, ValueError) as error:
        return _complain(f"not a finished run: {error}", 1)
    return 0


def _knobs(_options) -> int:
    from eln_kit import params_file

    print(params_file.describe())
    return 0


def _complain(message, status: int) -> int:
    print(message, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
