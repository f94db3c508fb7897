"""The `eln-kit` command."""

import argparse
import json
import os
import sys
from pathlib import Path

AGAIN = 75  # EX_TEMPFAIL: a run that a signal stopped has saved, and the same command goes on; schedulers may requeue


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed, 2 unusable params or arguments, 130 interrupted; see `AGAIN` for a run."""
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
    _add_set(run)
    run.add_argument("--dry-run", action="store_true", help="only say what would be done, and how large it is")
    run.set_defaults(command=_run)
    check = commands.add_parser("check", help="read all of a params file's data once, and list every fault")
    check.add_argument("params", metavar="PARAMS.yaml")
    _add_set(check)
    check.set_defaults(command=_check)
    sweep = commands.add_parser("sweep", help="train and measure several methods and seeds from one file, or go on")
    sweep.add_argument("file", metavar="SWEEP.yaml")
    sweep.set_defaults(command=_sweep)
    evaluate = commands.add_parser("evaluate", help="measure a run's networks, as notebook 4 does")
    evaluate.add_argument("run", metavar="RUN", type=Path, help="a run folder, such as runs/shapes")
    evaluate.add_argument("--out", metavar="FILE.json", type=Path, help="write everything measured")
    _add_set(evaluate)
    evaluate.set_defaults(command=_evaluate)
    show = commands.add_parser("show", help="pictures of what a run's networks say of any image")
    show.add_argument("run", metavar="RUN", type=Path)
    show.add_argument("--image", required=True, type=Path, help="an image, or a folder of images")
    show.add_argument("--mask", type=Path, help="its truth, or a folder of masks of the same names")
    show.add_argument("--out", required=True, metavar="DIR", type=Path)
    show.set_defaults(command=_show)
    official = commands.add_parser(
        "import-official", help="make a run folder of a checkpoint that the paper's own code has saved"
    )
    official.add_argument("checkpoint", metavar="CHECKPOINT", type=Path)
    official.add_argument("--out", required=True, metavar="RUN", help="the run folder to make")
    official.add_argument("--params", metavar="PARAMS.yaml", help="default: by the checkpoint's classes and encoder")
    _add_set(official)
    official.set_defaults(command=_import_official)
    table = commands.add_parser("table", help="compare finished runs in a Markdown table")
    table.add_argument("runs", metavar="RUN", nargs="+", help="a run folder, such as runs/shapes")
    table.set_defaults(command=_table)
    data = commands.add_parser("data", help="say what of a data set is there, unpack its archives, prepare its masks")
    data.add_argument("name", choices=["voc", "cityscapes"])
    data.add_argument("--root", required=True, metavar="DIR", help="folder of the data set and of its archives")
    data.add_argument("--download", action="store_true", help="fetch what needs no account (voc)")
    data.set_defaults(command=_data)
    knobs = commands.add_parser("knobs", help="list every knob with its default and meaning")
    knobs.set_defaults(command=_knobs)
    return parser


def _add_set(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KNOB=VALUE",
        help="change one knob; may be repeated",
    )


def _run(options) -> int:
    from eln_kit import kernels, params, params_file  # slow to import: --help should not wait

    try:
        wanted = params_file.load(options.params, options.set)
        if options.dry_run:
            return _dry_run(wanted)
        kernels.warm_up()  # beside the imports that follow
        return _run_notebooks(wanted)
    except params.ParamsError as error:
        return _complain(error, 2)


def _run_notebooks(wanted) -> int:
    from eln_kit import checkpoint, lock, report, run

    try:
        folder = run.run(wanted, run.NOTEBOOKS)
    except (run.RunError, lock.LockedError, checkpoint.CheckpointError) as error:
        return _complain(error, 1)
    except run.Interrupted as error:
        return _complain(error, AGAIN)
    results = folder / report.RESULTS
    if results.is_file():
        print(f"\n{report.table(json.loads(results.read_text()))}\n")
    print(folder / "index.html")
    return 0


def _dry_run(wanted) -> int:
    from eln_kit import experiment, params, plan, run

    try:
        print(plan.describe(wanted, run.NOTEBOOKS))
    except params.ParamsError:
        raise
    except (run.RunError, *experiment.EXPECTED) as error:
        return _complain(error, 1)
    return 0


def _check(options) -> int:
    from eln_kit import params, params_file
    from eln_kit.data import DataError, check, make_split, open_dataset

    try:
        data = params_file.load(options.params, options.set).data
        dataset = open_dataset(data)
        void = check.read_everything(dataset)
        split = make_split(dataset, data)
        check.refuse_void(split.labeled, void)
    except params.ParamsError as error:
        return _complain(error, 2)
    except DataError as error:
        return _complain(error, 1)
    print(f"{dataset.name}: {len(dataset.train)} training images, {len(split.labeled)} of them labelled, and ", end="")
    print(f"{len(dataset.val)} validation images, all of which can be read; {len(void)} masks are void everywhere")
    return 0


def _sweep(options) -> int:
    from eln_kit import experiment, sweep

    try:
        sweep.carry_out(sweep.load(options.file))
    except experiment.ParamsError as error:
        return _complain(error, 2)
    except KeyboardInterrupt as error:
        return _complain(error, AGAIN)
    except experiment.EXPECTED as error:
        return _complain(error, 1)
    return 0


def _import_official(options) -> int:
    from eln_kit import checkpoint, official, params

    try:
        folder = official.import_checkpoint(options.checkpoint, options.out, options.params, options.set)
    except params.ParamsError as error:
        return _complain(error, 2)
    except checkpoint.CheckpointError as error:
        return _complain(error, 1)
    print(f"{folder}: stages 1 and 2 as in {options.checkpoint}; go on with: eln-kit run {folder / 'params.yaml'}")
    return 0


def _evaluate(options) -> int:
    from eln_kit import experiment, report, results

    try:
        found = results.evaluate(experiment.reopen(options.run, options.set))
    except experiment.ParamsError as error:
        return _complain(error, 2)
    except experiment.EXPECTED as error:
        return _complain(error, 1)
    print(report.table(found))
    try:
        if options.out:
            options.out.write_text(json.dumps(found, indent=1))
    except OSError as error:
        return _complain(f"{options.out}: cannot be written ({error.strerror})", 1)
    return 0


def _show(options) -> int:
    from eln_kit import experiment, show

    try:
        for folder in show.show(options.run, options.image, options.mask, options.out):
            print(folder / show.SHEET)
    except experiment.ParamsError as error:
        return _complain(error, 2)
    except experiment.EXPECTED as error:
        return _complain(error, 1)
    return 0


def _table(options) -> int:
    from eln_kit import report

    try:
        print(report.compare([Path(run) for run in options.runs]))
    except (OSError, ValueError) as error:
        return _complain(f"not a finished run: {error}", 1)
    return 0


def _data(options) -> int:
    from eln_kit.data.prepare import prepare

    return 0 if prepare(options.name, options.root, options.download) else 1


def _knobs(_options) -> int:
    from eln_kit import params_file

    print(params_file.describe())
    return 0


def _complain(message, status: int) -> int:
    print(message, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
