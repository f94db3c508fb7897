"""Rows of a CSV file that a benchmark adds to as its parts end."""

import csv
from pathlib import Path


def read(file: Path | None) -> list[dict[str, str]]:
    """The rows that are there; none where there is no file."""
    if not (file and file.exists()):
        return []
    with file.open() as lines:
        return list(csv.DictReader(lines))


def tell(row: dict, file: Path | None) -> None:
    """Print a row, and add it to the file where there is to be one."""
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    if file:
        with file.open("a") as lines:
            writer = csv.DictWriter(lines, row)
            if not lines.tell():
                writer.writeheader()
            writer.writerow(row)
