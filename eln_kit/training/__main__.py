"""Trains one stage without its notebook, in as many processes as the launcher starts."""

import argparse
import sys

from eln_kit.faults import AGAIN, Fault
from eln_kit.method.stages import STAGES
from eln_kit.store.params_file import load
from eln_kit.training.fit import train_stage


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m eln_kit.training", description=__doc__)
    parser.add_argument("params", metavar="PARAMS.yaml")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KNOB=VALUE")
    options = parser.parse_args(arguments)
    try:
        train_stage(load(options.params, options.set).model_dump(), options.stage)
    except (Fault, KeyboardInterrupt) as error:
        print(error, file=sys.stderr)
        return error.status if isinstance(error, Fault) else AGAIN
    return 0


if __name__ == "__main__":
    sys.exit(main())
