"""Who sees what is printed."""

import os
import sys


def person_watches() -> bool:
    """Whether a terminal or a Jupyter front end shows the output; papermill's kernels have neither."""
    return "JPY_SESSION_NAME" in os.environ or sys.stderr.isatty()
