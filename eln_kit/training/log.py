"""`metrics.jsonl`: one line of means every few steps, and the watch for losses that are no number."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from eln_kit.faults import TrainingError
from eln_kit.paths import write_whole, writing

MEND = "; fix that and run again"


class Log:
    """Collects scalars on the device and asks for their values only when a line is due.

    Args:
        path: the file; lines past `first` steps, from a run that was killed, are cut off. None writes nothing.
        first: steps that are in the file already.
        pending: rows of later steps that are not written yet, from `pending`.
        reduce: takes the mean of a tensor over the processes that train together.
    """

    def __init__(self, path: Path | None, first: int, pending: list[dict], reduce: Callable[[Tensor], Tensor]):
        self.path, self.first, self.reduce = path, first, reduce
        self.rows: list[Tensor] = []
        self.done: list[dict[str, float]] = list(pending)
        if path is not None:
            self._cut_off_later_lines(path)

    def _cut_off_later_lines(self, path: Path) -> None:
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= self.first]
        with writing(path, MEND, TrainingError):
            write_whole(path, "".join(f"{line}\n" for line in kept))

    def add(self, losses: dict[str, Tensor], measures: dict[str, Tensor]) -> None:
        self.names = list(losses) + list(measures)
        self.losses = len(losses)
        self.rows.append(torch.stack([v.detach().float() for v in (*losses.values(), *measures.values())]))

    def pending(self) -> list[dict[str, float]]:
        """The rows not written yet, as numbers.

        Raises:
            TrainingError: a loss is NaN or infinite; names it and its step.
        """
        for row in self.reduce(torch.stack(self.rows)).tolist() if self.rows else []:
            step = self.first + len(self.done) + 1
            for name, value in list(zip(self.names, row, strict=True))[: self.losses]:
                if not math.isfinite(value):
                    raise TrainingError(f"step {step}: loss {name} is {value}; try a lower optimizer.lr")
            self.done.append(dict(zip(self.names, row, strict=True)))
        self.rows = []
        return self.done

    def write(self, step: int, extra: dict[str, float]) -> dict:
        """Append the means since the last line; a measure that is no number in every row is left out."""
        rows = self.pending()
        record = {"step": step, **extra}
        for name in rows[0]:
            values = [row[name] for row in rows if math.isfinite(row[name])]
            if values:
                record[name] = sum(values) / len(values)
        if self.path is not None:
            with writing(self.path, MEND, TrainingError), self.path.open("a") as file:
                file.write(json.dumps(record) + "\n")
        self.first, self.done = step, []
        return record
