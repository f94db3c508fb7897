"""All figures of docs/developers.md that need a GPU, in one go and under 25 minutes.

    python benchmarks/gpu.py OUT [--official CLONE] [--rounds 8] [--set SECTION.KNOB=VALUE ...]

OUT/gpu.json gets what the other benchmarks measure, each part in processes of its own, and OUT/gpu.md the rows of the
page's tables. Both are written after each part; a part that fails is named and left out. CLONE is a clone of the public
repository kinux98/SSL_ELN. Without a GPU everything but fp16 runs too.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from steps import COLUMNS, PUBLISHED

HERE = Path(__file__).parent
LIMIT = 24 * 60  # seconds for all parts
LARGEST = PUBLISHED[:1]  # what variants are measured on


def parts(rounds: int, clone: Path | None, knobs: list[str]) -> dict[str, list[str]]:
    """Name of a part -> the benchmark that measures it, with its arguments."""

    def steps(settings: tuple[str, ...], precision: str, *changed: str, flags: tuple[str, ...] = ()) -> list[str]:
        fixed = ["--rounds", str(rounds), "--set", "run.channels_last=true", *knobs, *changed]
        return ["steps.py", "--settings", *settings, "--precision", precision, *flags, *fixed]

    gpu = torch.cuda.is_available()
    found = {
        "bf16": steps(PUBLISHED, "bf16"),
        "channels_last off": steps(LARGEST, "bf16", "run.channels_last=false"),
        "fp16": steps(LARGEST, "fp16") if gpu else [],
        "contrast": ["contrast.py", *([str(clone)] if clone else []), "--rounds", str(rounds)],
        "official": ["official.py", str(clone), "--precision", "bf16"] if clone else [],
        "compiled": steps(LARGEST, "bf16", flags=("--compile",)),
    }
    if gpu and clone:
        found["official"] += ["fp16", "--depth", "101", "--crop", "505", "--batch", "6"]
    return {name: command for name, command in found.items() if command}


def measure(command: list[str], file: Path, seconds: float):
    """What a benchmark writes as JSON; or, as text, how it failed."""
    script, *arguments = command
    try:
        done = subprocess.run(
            [sys.executable, str(HERE / script), *arguments, "--json", str(file)],
            stderr=subprocess.PIPE,
            text=True,
            timeout=max(seconds, 1),
        )
    except subprocess.TimeoutExpired:
        return "out of time"
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return json.loads(file.read_text())


def table(found: dict) -> str:
    """The rows of steps, and below them the seconds of the parts that have no steps."""
    lines = [f"| setting | stage | {' | '.join(COLUMNS)} |", "|---" * (2 + len(COLUMNS)) + "|"]
    rest = ["", "| part | s (least to most) |", "|---|---|"]
    for part, rows in found.items():
        if isinstance(rows, str):
            rest.append(f"| {part} | {rows} |")
        elif isinstance(rows, list):
            for row in rows:
                values = " | ".join(f"{row[name]:.{digits}f}" for name, digits in COLUMNS.items())
                lines.append(f"| {row['setting']}, {part} | {row['stage'][0]} | {values} |")
        else:
            rest += [f"| {part}: {name} | {_spread(values)} |" for name, values in rows.items()]
    return "\n".join(lines + rest) + "\n"


def _spread(values: float | list[float]) -> str:
    if isinstance(values, float):
        return f"{values:.4f}"
    return f"{sorted(values)[len(values) // 2]:.4f} ({min(values):.4f} to {max(values):.4f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--official", type=Path, metavar="CLONE")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--set", nargs="+", default=[], metavar="SECTION.KNOB=VALUE", help="in all steps")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    end, found = time.monotonic() + LIMIT, {}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "processor"
    for name, command in parts(options.rounds, options.official, options.set).items():
        print(f"{name}: {' '.join(command)}", flush=True)
        found[name] = measure(command, options.out / "part.json", end - time.monotonic())
        whole = {"device": device, "torch": torch.__version__, "parts": found}
        (options.out / "gpu.json").write_text(json.dumps(whole, indent=1))
        (options.out / "gpu.md").write_text(f"{device}, torch {torch.__version__}\n\n{table(found)}")
    print((options.out / "gpu.md").read_text())


if __name__ == "__main__":
    main()
