"""The `eln-kit` command. What is slow to import is imported by the command that needs it."""

import argparse
import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eln_kit import faults
from eln_kit.faults import Fault
from eln_kit.paths import shorten_temporaries, write_whole, writing

FULL = (errno.ENOSPC, errno.EDQUOT)
COMMANDS: list[tuple[Callable, str, tuple]] = []  # function, help, arguments


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed, 2 unusable params or arguments, 75 a run that was stopped and has saved, 130 any
    other command that was interrupted.
    """
    options = _parser().parse_args(arguments)
    shorten_temporaries()
    try:
        return options.command(options) or 0
    except Fault as fault:
        return _complain(fault, fault.status)
    except KeyboardInterrupt:
        return _complain("interrupted; run the same command to go on", faults.INTERRUPTED)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return faults.FAILED
    except OSError as error:
        if error.errno not in FULL:
            raise
        place = f"{error.filename}: " if error.filename else ""
        return _complain(f"{place}{error.strerror}; make room, and run the same command to go on", faults.FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eln-kit",
        description="Semi-supervised segmentation with an error localization network, in notebooks.",
        epilog="PARAMS is a params file, or the name of one that comes with the kit, such as shapes.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="versions, for bug reports")
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for function, help, arguments in COMMANDS:
        command = parsers.add_parser(function.__name__.replace("_", "-"), help=help, description=help)
        command.set_defaults(command=function)
        for names, settings in arguments:
            command.add_argument(*names, **settings)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(version())
        parser.exit()


def version() -> str:
    """One line for bug reports: the kit, Python, torch, operating system; quick, as torch is not imported."""
    import platform
    from importlib.metadata import version

    from eln_kit import __version__

    return f"eln-kit {__version__}, Python {platform.python_version()}, torch {version('torch')}, {platform.platform()}"


def _argument(*names: str, **settings: Any) -> tuple:
    return names, settings


def _command(help: str, *arguments: tuple) -> Callable:
    """Make a function a command of its name."""

    def register(function: Callable) -> Callable:
        COMMANDS.append((function, help, arguments))
        return function

    return register


def _complain(message: object, status: int) -> int:
    print(message, file=sys.stderr)
    return status


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("should be 1 or more")
    return value


def _share(text: str) -> float:
    if not 0 < (value := float(text)) < 1:
        raise argparse.ArgumentTypeError("should be above 0 and below 1")
    return value


PARAMS = _argument("params", metavar="PARAMS", help="a params file, or the name of one of the kit's, such as photos")
RUN = _argument("run", metavar="RUN", type=Path, help="a run folder, such as runs/shapes")
KNOBS = _argument(
    "--set", action="append", default=[], metavar="SECTION.KNOB=VALUE", help="change one knob; may be repeated"
)


@_command(
    "execute the notebooks with a params file, or go on where they stopped",
    PARAMS,
    KNOBS,
    _argument("--dry-run", action="store_true", help="only say what would be done, and how large it is"),
)
def run(options: argparse.Namespace) -> None:
    from eln_kit.batch import report, state
    from eln_kit.paths import resolve
    from eln_kit.store import params_file

    wanted, sources = params_file.load(options.params, options.set), state.notebooks(state.NOTEBOOKS)
    if wanted.run.start_from:
        from eln_kit.store.branch import branched

        wanted = branched(wanted)
    if options.dry_run:
        from eln_kit.batch import plan

        return print(plan.describe(wanted, sources))
    folder = resolve(wanted.run.folder)
    if all(finished for finished, _ in state.finished_before(folder, sources, wanted.model_dump()).values()):
        print(f"{folder}: finished before, with the same params and notebooks")
    else:
        from eln_kit.batch import kernels

        kernels.warm_up()  # beside the imports that follow
        from eln_kit.batch.run import run

        run(wanted, sources)
    if (results := folder / report.RESULTS).is_file():
        found = json.loads(results.read_text())
        print("", report.table(found), *report.labels_gain(found), "", sep="\n")
    print(folder / "index.html")


@_command(
    "read all of a params file's data once, say what there is, and list every fault",
    PARAMS,
    KNOBS,
    _argument("--json", action="store_true", help="print what there is for programs"),
)
def check(options: argparse.Namespace) -> None:
    from eln_kit.data import make_split, open_dataset
    from eln_kit.store import params_file
    from eln_kit.tools import account
    from eln_kit.tools.survey import check_trainable, survey

    params = params_file.load(options.params, options.set)
    dataset = open_dataset(params.data)
    found = survey(dataset)
    split = make_split(dataset, params.data)
    check_trainable(params, split, found)
    if options.json:
        return print(json.dumps(account.facts(found, split, params), indent=1))
    print(account.describe(found, split, params))


@_command(
    "which images to label first, before there is any mask: one of each kind of image",
    PARAMS,
    KNOBS,
    _argument("--count", required=True, type=_count, metavar="N", help="images to label"),
    _argument(
        "--out",
        required=True,
        type=Path,
        metavar="FILE",
        help="the list of ids, for data.labeled_ids; a picture lies beside it",
    ),
)
def choose(options: argparse.Namespace) -> None:
    from eln_kit.store import params_file
    from eln_kit.tools import choose

    params = params_file.load(options.params, options.set)
    print("\n".join(choose.write(choose.choose(params, options.count), options.out)))


@_command(
    "train and measure several methods and seeds from one file, or go on",
    _argument("file", metavar="SWEEP", help="a sweep file, or the name of one that comes with the kit"),
)
def sweep(options: argparse.Namespace) -> int:
    from eln_kit.batch import sweep

    try:
        sweep.carry_out(sweep.load(options.file))
    except KeyboardInterrupt as stopped:
        return _complain(str(stopped) or "stopped; run again to go on", faults.AGAIN)
    return 0


@_command(
    "measure a run's networks, as notebook 4 does",
    RUN,
    KNOBS,
    _argument("--out", metavar="FILE.json", type=Path, help="write everything measured"),
)
def evaluate(options: argparse.Namespace) -> None:
    from eln_kit.batch import report
    from eln_kit.outcome import results
    from eln_kit.store import experiment

    found = results.evaluate(experiment.reopen(options.run, options.set))
    print(report.table(found))
    if options.out:
        with writing(options.out):
            write_whole(options.out, json.dumps(found, indent=1))


@_command(
    "pictures of a run's predictions, and of ELN's map of them, for any image",
    RUN,
    _argument("--image", required=True, type=Path, help="an image, or a folder of images"),
    _argument("--mask", type=Path, help="its truth, or a folder of masks of the same names"),
    _argument("--out", required=True, metavar="DIR", type=Path),
    KNOBS,
)
def show(options: argparse.Namespace) -> None:
    from eln_kit.tools import show

    for folder in show.show(options.run, options.image, options.mask, options.out, options.set):
        print(folder / show.SHEET)


@_command(
    "masks and trust of a folder of images, a data set of what is trusted, and what to label next",
    RUN,
    _argument("--images", required=True, metavar="DIR", type=Path, help="sub-folders are kept"),
    _argument("--out", required=True, metavar="DIR", type=Path, help="goes on where it was stopped"),
    _argument("--precision", metavar="SHARE", type=_share, help="keep pixels so that this share of them is right"),
    _argument("--per-class", action="store_true", help="with --precision: a threshold for each predicted class"),
    _argument("--outlines", choices=["labelme", "coco"], help="of the images to label next, polygons to correct"),
    _argument("--first", type=_count, default=10, metavar="N", help="with --outlines: of so many (10)"),
)
def predict(options: argparse.Namespace) -> int:
    from eln_kit.batch import gallery

    asked = (options.precision, options.per_class, options.outlines, options.first)
    lines, broken = gallery.label(options.run, options.images, options.out, *asked)
    print("\n".join(lines))
    return faults.FAILED if broken else 0


@_command(
    "a run's networks as one graph, with a model card: image in, class logits and trust out",
    RUN,
    _argument("--to", required=True, choices=["onnx", "torch"]),
    _argument("--out", required=True, metavar="DIR", type=Path),
)
def export(options: argparse.Namespace) -> None:
    from eln_kit.batch import export

    print(export.export(options.run, options.to, options.out))


@_command(
    "compare finished runs in a Markdown table",
    _argument("runs", metavar="RUN", nargs="+", type=Path, help="a run folder, such as runs/shapes"),
)
def table(options: argparse.Namespace) -> None:
    from eln_kit.batch import report

    print(report.compare(options.runs))


@_command(
    "prepare voc or cityscapes; or convert a labelling tool's export (coco, labelme, labelmap) into a folder of masks",
    _argument("name", choices=["voc", "cityscapes", "coco", "labelme", "labelmap"]),
    _argument("--root", required=True, metavar="DIR", help="folder of the data set and its archives, or of the export"),
    _argument("--download", action="store_true", help="fetch what needs no account (voc)"),
    _argument("--out", metavar="DIR", help="of an export: the new folder, which data.root is to name"),
    _argument("--base", metavar="DIR", help="of an export: a data set whose classes, images and masks come along"),
    _argument("--val", type=_share, default=0.2, help="of an export without validation part: share drawn (0.2)"),
    _argument("--seed", type=int, default=0, help="of that draw (0)"),
)
def data(options: argparse.Namespace) -> int:
    from eln_kit.tools.exports import READERS, bring
    from eln_kit.tools.prepare import prepare

    if options.name not in READERS:
        return 0 if prepare(options.name, options.root, options.download) else faults.FAILED
    if not options.out:
        raise faults.ParamsError(f"eln-kit data {options.name}: needs --out, the folder to make")
    asked = (options.root, options.out, options.val, options.seed, options.base)
    return 0 if bring(options.name, *asked) else faults.FAILED


@_command("list every knob with its default, its values and its meaning")
def knobs(_options: argparse.Namespace) -> None:
    from eln_kit.tools.knobs import describe

    print(describe())


@_command(
    "copy the notebooks and params that come with the kit into a folder, to change them there",
    _argument("folder", metavar="DIR", nargs="?", type=Path, default=Path(), help="default: the working folder"),
)
def copy(options: argparse.Namespace) -> None:
    from eln_kit.paths import copy_shipped

    for folder in copy_shipped(options.folder):
        print(folder)


if __name__ == "__main__":
    sys.exit(main())
