"""The short form of `make torture`."""

import random

import pytest
from torture import differences, params_in, start, torture_run, train_and_die, undisturbed

from eln_kit.store.experiment import open_experiment

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

STAGES = ["1_supervised", "2_error_localization", "3_semi_supervised"]


def test_training_killed_at_random_moments_ends_like_an_undisturbed_one(tmp_path):
    done = torture_run(tmp_path, kills=1, steps=6, seed=random.randrange(1000), stages=STAGES)
    assert done == dict.fromkeys(STAGES, 1)


@pytest.mark.parametrize(
    ("function", "calls"),
    [
        ("fsync", 1),  # the first checkpoint is written, not yet on disk
        ("replace", 1),  # and on disk, not yet in its place
        ("replace", 3),  # the second has moved the first aside
    ],
)
def test_training_killed_while_a_checkpoint_is_written_ends_like_an_undisturbed_one(tmp_path, function, calls):
    whole, killed = (params_in(tmp_path / name, tmp_path / "scenes", 9) for name in ("whole", "killed"))
    open_experiment(whole)
    open_experiment(killed)
    undisturbed(whole, "1_supervised")
    process = start(killed, "1_supervised", train_and_die, function, calls)
    process.join()
    assert process.exitcode == -9
    assert list((tmp_path / "killed" / "1_supervised").glob("*.tmp"))
    undisturbed(killed, "1_supervised")
    assert differences(whole, killed, "1_supervised") == []
