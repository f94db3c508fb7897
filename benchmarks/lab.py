"""How quickly the error lab answers, measured in this process through the lab's own controls.

    python benchmarks/lab.py [RUN] [--json FILE]

RUN is a run folder such as runs/camvid; without one, the lab's small run on generated scenes. Threshold moves, and
those of a ratio through a sweep that is known, are timed from the control to the new picture and numbers; a change of a
ratio, or of the number of decoders, to the new errors.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from eln_kit.lab import open_session
from eln_kit.lab.desk import Desk

MOVES = 50


def milliseconds(act) -> float:
    begin = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - begin)


def threshold_moves(desk: Desk) -> list[float]:
    """Milliseconds of each move; thresholds as a hand would drag them, there and back."""
    slider = desk.find.threshold
    places = 0.5 + 0.45 * np.sin(np.linspace(0.1, 7, MOVES))
    return [milliseconds(lambda place=place: setattr(slider, "value", round(float(place), 2))) for place in places]


def drags(desk: Desk) -> list[float]:
    """Milliseconds of each move of a ratio from 1 to 100 and back, as far as a decoder known before is shown."""
    slider = desk.make.ratios[0]
    ratios = [ratio for _, ratio in slider.options]
    return [milliseconds(lambda ratio=ratio: setattr(slider, "value", ratio)) for ratio in (*ratios, *ratios[::-1])]


def change(desk: Desk, control, value, meanwhile: bool = False) -> tuple[float, list[float]]:
    """Seconds until the change of a control is shown in full, and of threshold moves that were made meanwhile."""
    begin, moves = time.perf_counter(), []
    control.value = value
    while desk.worker.busy():
        if meanwhile:
            moves.append(milliseconds(lambda: setattr(desk.find.threshold, "value", 0.3 + 0.01 * (len(moves) % 40))))
        time.sleep(0.05)
    return time.perf_counter() - begin, moves


def idle(desk: Desk) -> float:
    """Seconds until not even work that nobody waits for is left."""
    begin = time.perf_counter()
    while desk.worker.works:
        time.sleep(0.05)
    return time.perf_counter() - begin


def measure(run: str) -> dict:
    desk = Desk(open_session(run))
    height, width = desk.session.held[0].truth.shape
    change(desk, desk.make.count, 2)
    desk.refresh()
    sweep = idle(desk)
    moves, dragged = threshold_moves(desk), drags(desk)
    idle(desk)
    ratio, _ = change(desk, desk.make.ratios[0], 3.16)
    more, _ = change(desk, desk.make.count, 4)
    meanwhile, during = change(desk, desk.make.ratios[1], 7.08, meanwhile=True)
    desk.close()
    return {
        "image": f"{width}x{height}",
        "threshold_ms_median": round(float(np.median(moves)), 1),
        "threshold_ms_p95": round(float(np.quantile(moves, 0.95)), 1),
        "first_errors_and_sweep_s": round(sweep, 1),
        "drag_ms_median": round(float(np.median(dragged)), 1),
        "drag_ms_p95": round(float(np.quantile(dragged, 0.95)), 1),
        "one_ratio_s": round(ratio, 1),
        "two_more_decoders_s": round(more, 1),
        "one_ratio_while_dragging_s": round(meanwhile, 1),
        "threshold_while_training_ms_median": round(float(np.median(during)), 1),
        "threshold_while_training_ms_p95": round(float(np.quantile(during, 0.95)), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", default="", metavar="RUN")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    found = measure(options.run)
    for name, value in found.items():
        print(f"{name:<36} {value}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
