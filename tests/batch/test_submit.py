"""`eln-kit submit` and `status` without SLURM: cluster.yaml, the script, the tasks of a sweep, who is requeued."""

import re
import signal
import sys
from pathlib import Path

import pytest
import yaml
from patience import until

from eln_kit import cli
from eln_kit.batch import cluster, compare, job, sweep
from eln_kit.batch.state import write_state
from eln_kit.faults import DataError, Interrupted, ParamsError
from eln_kit.store.lock import held
from eln_kit.store.params_file import save


@pytest.fixture
def folder(tiny, tmp_path, monkeypatch):
    """A working folder with the params of a run, and without a cluster.yaml anywhere."""
    save(tiny(), tmp_path / "tiny.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Programs of SLURM by their names: `commands(squeue="echo RUNNING")`; each call is a line of the file `called`."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    (tmp_path / "bin").mkdir()

    def make(**programs):
        for name, code in programs.items():
            file = tmp_path / "bin" / name
            file.write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/called\n{code}\n')
            file.chmod(0o755)

    return make


def write(folder: Path, **entries) -> None:
    (folder / "cluster.yaml").write_text(yaml.safe_dump({"cluster": entries}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cluster: {partitoin: gpu}", "cluster.yaml: there is no cluster.partitoin; did you mean partition?"),
        ("cluster: {partition: gpu, gpus: four}", "cluster.yaml: cluster.gpus = 'four': should be a valid integer"),
        ("cluster: {gpus: 4}", "cluster.yaml: cluster: partition is missing; name one that sinfo lists, "),
        (
            "cluster: {partition: gpu, time: soon}",
            "cluster.yaml: cluster.time = 'soon': should be minutes, or hours:min",
        ),
        ("cluster: {partition: gpu, setup: module}", "cluster.yaml: cluster.setup = 'module': should be a valid list"),
        ("cluster: {partition: gpu, sbatch: {output: x}}", "cluster.yaml: cluster.sbatch: output is set by eln-kit"),
        (
            "cluster: {partition: gpu, sbatch: {signal: USR1@60}}",
            "cluster.yaml: cluster.sbatch: signal = USR1@60: a run saves on TERM; write TERM@ and the seconds",
        ),
        ("partition: gpu", "cluster.yaml: should be a section cluster: of executor, partition, "),
        ("cluster: {partition: gpu}\nrun: {}", "cluster.yaml: there is no run; there are cluster"),
        ("[gpu]", "cluster.yaml: should be a section cluster: of "),
        ("cluster: {partition", "cluster.yaml: not YAML: "),
    ],
)
def test_a_cluster_file_that_cannot_be_used_is_one_line(folder, capsys, text, message):
    (folder / "cluster.yaml").write_text(text)
    assert cli.main(["submit", "tiny.yaml"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("time", "minutes"),
    [("90", 90), ("24:00:00", 1440), ("2:30", 3), ("2-12:00:00", 3600), ("1-1", 1500), ("1-1:30", 1530), ("'60'", 60)],
)
def test_a_time_limit_is_read_as_slurm_reads_it(folder, time, minutes):
    (folder / "cluster.yaml").write_text(f"cluster: {{partition: gpu, time: {time}}}")
    assert cluster.load({}).time == minutes


def test_the_file_of_the_working_folder_comes_before_that_of_the_home_and_flags_before_both(folder):
    with pytest.raises(ParamsError, match="partition is missing"):
        cluster.load({})
    home = folder / "home" / ".config" / "eln-kit"
    home.mkdir(parents=True)
    write(home, partition="of home", gpus=1)
    assert cluster.load({"gpus": None}).partition == "of home"
    write(folder, partition="of here", gpus=2)
    assert cluster.load({"gpus": 4}) == cluster.Cluster(partition="of here", gpus=4)


def test_without_slurm_submit_is_one_line_and_makes_no_folder(folder, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert cli.main(["submit", "tiny.yaml", "--partition", "gpu"]) == 1
    assert capsys.readouterr().err == ("there is no SLURM here: submit where sbatch is, or take --executor local\n")
    assert not (folder / "run").exists()


@pytest.mark.parametrize("arguments", [[], ["tiny.yaml", "--sweep", "x"], ["--sweep", "x", "--set", "run.seed=1"]])
def test_submit_wants_params_or_a_sweep(folder, capsys, arguments):
    assert cli.main(["submit", *arguments]) == 2
    assert capsys.readouterr().err.startswith("eln-kit submit: needs PARAMS")


def test_the_script_of_a_dry_run_asks_for_what_the_file_says_without_slurm(folder, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(folder))
    entries = {"partition": "gpu", "account": "vision", "gpus": 4, "cpus": 32, "memory": 120, "time": "12:00:00"}
    write(folder, **entries, setup=["module load cuda"], sbatch={"qos": "low", "exclusive": True})
    assert cli.main(["submit", "tiny.yaml", "--dry-run"]) == 0
    before, setup, command = re.split(r"# setup\n|# command\n", capsys.readouterr().out)
    log, python = folder / "run" / "slurm" / "%j_%t_log.out", f"{sys.executable} -u -m submitit.core._submit"
    assert set(re.findall("#SBATCH --(.+)", before)) == {
        "account=vision",
        "cpus-per-task=32",
        "exclusive",
        "gpus-per-node=4",
        "job-name=run",
        "mem=120GB",
        "nodes=1",
        "ntasks-per-node=1",
        "open-mode=append",
        f"output={str(log).replace('%t', '0')}",
        "partition=gpu",
        "qos=low",
        "requeue",
        "signal=TERM@120",
        "time=720",
    }
    assert setup.strip() == "module load cuda"
    assert f"srun --unbuffered --output {log} --cpus-per-task=32 {python} {log.parent}\n" in command
    assert not (folder / "run").exists()


@pytest.mark.parametrize("what", [["tiny.yaml"], ["--sweep", "sweep.yaml"]])
def test_a_dry_run_of_the_local_executor_starts_nothing(folder, capsys, what):
    (folder / "sweep.yaml").write_text("params: tiny.yaml\nfolder: sweep\nseeds: [0]\nmethods: {a: {}}\n")
    assert cli.main(["submit", *what, "--executor", "local", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("# no script: the executor local starts this in the background\n")
    assert not list(folder.glob("*/slurm/*"))


def runs(tiny, *changes):
    own = [{"run.folder": f"runs/{number}/0", "run.control": False} for number in range(len(changes))]
    return [tiny(knobs | dict(change)) for knobs, change in zip(own, changes, strict=True)]


def test_stages_that_runs_share_are_tasks_of_their_own_and_those_that_need_them_wait(tiny):
    kinds = runs(tiny, {}, {"semi_supervised.filter": "none"}, {"error_localization.noise": 0.5}, {"run.seed": 1})
    first, *whole, last = sweep.divide(kinds)
    assert first == sweep.Task(0, ("1_supervised", "2_error_localization"), ())
    assert [(task.run, task.after) for task in whole] == [(0, (0,)), (1, (0,)), (2, (0,)), (3, ())]
    assert last == sweep.Task(None, (), (1, 2, 3, 4))
    assert [task.name(kinds) for task in (first, whole[2], last)] == ["0/0: 2_error_localization", "2/0", "detectors"]

    noisy = {"error_localization.noise": 0.5}  # whose shared stage 2 starts from the first run's stage 1
    kinds = runs(tiny, {}, noisy, noisy | {"semi_supervised.filter": "none"})
    assert sweep.divide(kinds)[:2] == [
        sweep.Task(0, ("1_supervised",), ()),
        sweep.Task(1, ("1_supervised", "2_error_localization"), (0,)),
    ]

    kinds = runs(tiny, {}, {"run.seed": 1})  # nothing is shared
    assert [(task.run, task.after) for task in sweep.divide(kinds)] == [(0, ()), (1, ()), (None, (0, 1))]


def stop(error):
    raise error


STOPPED, FAILED = Interrupted("saved at step 3"), DataError("a.png: broken")
AGAIN = "exit 0"  # what scontrol does
RUNNING, ENDING = "echo 9 7_1 PENDING; echo 7 7_0 RUNNING", "echo 7 7_0 COMPLETING"


@pytest.mark.parametrize(
    ("executor", "error", "squeue", "restarts", "scontrol", "asked", "said"),
    [
        ("slurm", STOPPED, RUNNING, 0, AGAIN, "7_0", "job 7_0: requeued, 1 of at most 2 times"),
        ("slurm", STOPPED, RUNNING, 2, AGAIN, "", "job 7_0: was requeued 2 times, which is as often as it may"),
        ("slurm", STOPPED, ENDING, 0, AGAIN, "", "job 7_0: SLURM itself has cancelled or requeued it"),
        ("slurm", STOPPED, RUNNING, 1, "echo no >&2; exit 1", "7_0", "job 7_0: could not be requeued (no); submit it"),
        ("slurm", STOPPED, "echo busy >&2; exit 1", 0, AGAIN, "7", "job 7: requeued, 1 of at most 2 times"),
        ("local", STOPPED, RUNNING, 0, AGAIN, "", "submit it again to go on"),  # within a job of SLURM
        ("slurm", FAILED, RUNNING, 0, AGAIN, "", ""),
    ],
)
def test_a_stopped_job_goes_back_into_the_queue_unless_slurm_ends_it_it_failed_or_it_has_been_often_enough(
    commands, tmp_path, monkeypatch, capsys, executor, error, squeue, restarts, scontrol, asked, said
):
    commands(squeue=squeue, scontrol=scontrol)
    monkeypatch.setenv("SUBMITIT_EXECUTOR", executor)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
    if not restarts:
        monkeypatch.delenv("SLURM_RESTART_COUNT")
    with pytest.raises(SystemExit, match="1"):
        job.work(2, stop, error)
    first, _, rest = capsys.readouterr().err.partition("\n")
    assert first == str(error)
    assert rest.startswith(said)
    assert rest.count("\n") == bool(said)
    called = (tmp_path / "called").read_text() if (tmp_path / "called").exists() else ""
    assert re.findall(r"scontrol requeue (\S+)", called) == ([asked] if asked else [])
    assert bool(called) == (executor == "slurm" and error is STOPPED)


@pytest.fixture(autouse=True)
def handlers():
    """`work` is made for a process of its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCONT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_status_of_a_folder_without_a_run_is_one_line(folder, capsys):
    assert cli.main(["status", "nothing"]) == 1
    assert capsys.readouterr().err == "nothing: no run is there, and none was submitted; eln-kit submit does\n"


def test_a_run_that_is_not_a_job_runs_as_long_as_its_folder_is_held(folder, capsys):
    (folder / "run").mkdir()
    write_state(folder / "run", {"1_supervised": {"state": "running"}})
    with held(folder / "run"):
        assert cli.main(["status", "run"]) == 0
    assert cli.main(["status", "run"]) == 0
    running, killed = capsys.readouterr().out.splitlines()
    assert running.endswith("running")
    assert "killed; submit it again" in killed


def test_status_of_a_job_that_its_node_could_not_log_says_so(folder, capsys, commands):
    commands(squeue="")
    (folder / "run" / "slurm").mkdir(parents=True)
    (folder / "run" / "slurm" / "12_submitted.pkl").touch()
    assert cli.main(["status", "run"]) == 0
    assert capsys.readouterr().out.startswith("job 12  ended without a log: its node could not write run/slurm, or ")


def test_status_shows_what_a_job_said_last_without_what_slurm_says_at_its_end(folder, capsys, commands):
    commands(squeue="echo '12_1|RUNNING, 0:10 of 1:00:00, n1'")
    logs = folder / "run" / "slurm"
    logs.mkdir(parents=True)
    for number, text in enumerate(
        ["runs/a\na.png: broken\nsrun: error: n1: task 0: Exited with exit code 1\n", "runs/b\nstep 1\rstep 2"]
    ):
        (logs / f"12_{number}_submitted.pkl").touch()
        (logs / f"12_{number}_0_log.out").write_text(text)
    assert cli.main(["status", "run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "job 12_0  ended; run/slurm/12_0_0_log.out",
        "    runs/a",
        "    a.png: broken",
        "job 12_1  RUNNING, 0:10 of 1:00:00, n1; run/slurm/12_1_0_log.out",
        "    runs/b",
        "    step 1",
        "    step 2",
    ]


@pytest.mark.slow
def test_the_local_executor_carries_a_sweep_out_in_the_background(folder, capsys):
    content = {"params": "tiny.yaml", "folder": "sweep", "seeds": [0], "methods": {"a": {"run.control": False}}}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(content))
    assert cli.main(["submit", "--sweep", "sweep.yaml", "--executor", "local"]) == 0
    assert cli.main(["status", "sweep"]) == 0
    told = capsys.readouterr().out
    assert "RUNNING, here" in told or "ended" in told  # it takes seconds only
    until((folder / "sweep" / "a" / "0" / compare.DETECTORS).is_file)
