"""On the path of a job, its trainings are those of `together.freeze`."""

import together

together.freeze()
