"""How the lab's errors are made, and the params file of a run that makes them so."""

import re
from dataclasses import dataclass
from pathlib import Path

from eln_kit.faults import ParamsError
from eln_kit.params import Params
from eln_kit.paths import project_root, writing
from eln_kit.store.params_file import build, save


@dataclass(frozen=True)
class Settings:
    """One auxiliary decoder a ratio, each trained for `steps` on frozen features."""

    ratios: tuple[float, ...]
    steps: int = 40
    noise: float = 0.0
    dropout: float = 0.0

    def write_params(self, params: Params, threshold: float, name: str = "my_lab") -> Path:
        """Write `params` with these settings beside the other params files, for `eln-kit run`; none is overwritten.

        Raises:
            ParamsError: that is no name of a file.
            Fault: the file cannot be written.
        """
        if not re.fullmatch(r"\w[\w-]*", name):
            raise ParamsError(f"{name!r}: a params file's name has letters, digits, - and _ only")
        folder = project_root() / "params"
        taken = {file.stem for file in folder.glob("*.yaml")}
        name = next(n for n in [name, *(f"{name}_{i}" for i in range(2, len(taken) + 3))] if n not in taken)
        knobs = {
            "error_localization.ratios": list(self.ratios),
            "error_localization.noise": self.noise,
            "error_localization.dropout": self.dropout,
            "semi_supervised.filter": "eln",
            "semi_supervised.threshold": round(threshold, 2),
            "semi_supervised.class_share": None,  # else it would win over the threshold
            "run.folder": f"runs/{name}",
        }
        path = folder / f"{name}.yaml"
        with writing(path):
            save(build(params.model_dump(), knobs), path)
        return path
