"""The errors that are for a person, and the exit statuses of the commands."""

FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130
AGAIN = 75  # EX_TEMPFAIL: a stopped run has saved, and the same command goes on; schedulers may requeue it


class Fault(Exception):
    """An error whose message is one line that says what is wrong and how to fix it; shown without a traceback."""

    status = FAILED


class ParamsError(Fault):
    """A params file, or a knob given by hand, that cannot be used; the message says which and why."""

    status = UNUSABLE


class DataError(Fault):
    """A data set that cannot be used; the message names the file or folder and the mend."""


class CheckpointError(Fault):
    """A checkpoint that is missing, broken, or made with other settings."""


class TrainingError(Fault):
    """Training cannot go on; the message names the step and the loss."""


class WorkerError(Fault):
    """One of several training processes died; the message is its traceback."""


class LockedError(Fault):
    """Another process works in the folder; the message names it."""


class RunError(Fault):
    """A run that cannot go on; the message says in which notebook and cell, and why."""


class Interrupted(Fault):
    """The user or the system stopped a run, which has saved."""

    status = AGAIN
