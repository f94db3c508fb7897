"""What a job asks of a cluster: `cluster.yaml` in the working folder or in ~/.config/eln-kit, and flags on top."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from eln_kit.faults import ParamsError
from eln_kit.params import Float, Section
from eln_kit.store import params_file

PLACES = (Path("cluster.yaml"), Path("~/.config/eln-kit/cluster.yaml"))
TIMES = [  # as SLURM reads them
    r"(?P<m>\d+)(:(?P<s>\d\d))?",
    r"(?P<h>\d+):(?P<m>\d\d):(?P<s>\d\d)",
    r"(?P<d>\d+)-(?P<h>\d+)(:(?P<m>\d\d)(:(?P<s>\d\d))?)?",
]
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
OURS = {"array", "dependency", "error", "hold", "job-name", "ntasks-per-node", "open-mode", "output", "requeue"}


def _minutes(time: object) -> object:
    """`90`, `24:00:00` or `2-12:00:00` in minutes, rounded up."""
    if not isinstance(time, str):
        return time
    found = next(filter(None, (re.fullmatch(form, time) for form in TIMES)), None)
    if not found:
        raise ValueError("should be minutes, or hours:minutes:seconds such as 24:00:00, or with days 2-12:00:00")
    return -(-sum(SECONDS[unit] * int(value or 0) for unit, value in found.groupdict().items()) // 60)


class Cluster(Section):
    """The section `cluster`; GPUs, cores and memory are those of its node."""

    executor: Literal["slurm", "local"] = Field("slurm", description="local: a process in the background, here")
    partition: str = Field("", description="one of those that sinfo lists")
    account: str = Field("", description="whose hours are used; empty: your default one")
    gpus: int = Field(0, ge=0, description="GPUs of a node; 0 trains on processors, or locally on all GPUs")
    cpus: int | None = Field(None, ge=1, description="cores of a node; null: what the site gives")
    memory: Float | None = Field(None, gt=0, description="GB of a node; null: what the site gives")
    time: Annotated[int, BeforeValidator(_minutes), Field(ge=1)] = Field(
        24 * 60, description="time limit as SLURM reads it: minutes, 24:00:00 or 2-12:00:00"
    )
    requeues: int = Field(20, ge=0, description="how often a stopped job is put into the queue again")
    setup: list[str] = Field([], description="lines of the job's script before the run, such as module load cuda")
    sbatch: dict[str, str | int | float | bool] = Field({}, description="more options of sbatch, such as qos: low")

    @field_validator("sbatch")
    @classmethod
    def _leaves_ours_alone(cls, sbatch: dict) -> dict:
        if taken := OURS & {name.replace("_", "-") for name in sbatch}:
            raise ValueError(f"{', '.join(sorted(taken))} is set by eln-kit")
        if not str(sbatch.get("signal", "TERM@")).startswith("TERM@"):
            raise ValueError(f"signal = {sbatch['signal']}: a run saves on TERM; write TERM@ and the seconds")
        return {name: value for name, value in sbatch.items() if value is not False}

    @model_validator(mode="after")
    def _can_be_asked_for(self) -> Self:
        if self.executor == "slurm" and not self.partition:
            raise ValueError("partition is missing; name one that sinfo lists, in cluster.yaml or by --partition")
        return self


class File(Section):
    """What cluster.yaml holds."""

    cluster: Cluster


def load(flags: dict[str, Any]) -> Cluster:
    """The first `cluster.yaml` that is there, with those flags that are not None on top.

    Raises:
        ParamsError: names the file and what in it, or in the flags, cannot be used.
    """
    file = next((place for place in PLACES if place.expanduser().is_file()), None)
    content = params_file.read(file) if file else {"cluster": {}}
    given = {name: value for name, value in flags.items() if value is not None}
    if given and isinstance(content, dict) and isinstance(content.get("cluster"), dict):
        content["cluster"] |= given
    if not isinstance(content, dict) or not isinstance(content.get("cluster"), dict):
        raise ParamsError(f"{file}: should be a section cluster: of {', '.join(Cluster.model_fields)}")
    return params_file.section(File, content, str(file or "cluster.yaml")).cluster
