"""Which notebooks a run has, and which of them have finished with which params: `state.json` of a run folder."""

import hashlib
import json
from pathlib import Path

from eln_kit.faults import RunError
from eln_kit.paths import project_root, shipped, write_whole

NOTEBOOKS = ["0_data", "1_supervised", "2_error_localization", "3_semi_supervised", "4_evaluate"]


def read_state(folder: Path) -> dict:
    """`{notebook: {"state", "mark", "seconds", "error"}}` in the order of the run; empty before the first."""
    file = folder / "state.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def write_state(folder: Path, state: dict) -> None:
    """The counterpart of `read_state`."""
    write_whole(folder / "state.json", json.dumps(state, indent=1))


def notebooks(names: list[str]) -> dict[str, Path]:
    """The notebooks' files: the project's, or where it has none those that came with the package.

    Raises:
        RunError: names one that is not there.
    """
    sources = {}
    for name in names:
        places = [root / "notebooks" / f"{name}.ipynb" for root in (project_root(), shipped())]
        sources[name] = next((place for place in places if place.is_file()), places[0])
        if not sources[name].is_file():
            raise RunError(f"{sources[name]}: no such notebook")
    return sources


def finished_before(folder: Path, sources: dict[str, Path], parameters: dict) -> dict[str, tuple[bool, str]]:
    """For each notebook whether it has finished with these params, and the mark that it will be known by."""
    state, mark = read_state(folder), json.dumps(parameters)
    found = {}
    for name, source in sources.items():
        mark = hashlib.sha256(mark.encode() + source.read_bytes()).hexdigest()  # an earlier change counts too
        before = state.get(name, {"state": "not run"})
        is_same = before["state"] == "finished" and before["mark"] == mark
        found[name] = is_same and (folder / f"{name}.ipynb").is_file(), mark
    return found
