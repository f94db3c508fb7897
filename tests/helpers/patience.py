import time


def until(true, patience: float = 300, of: str = "it"):
    """The first true value of the function."""
    deadline = time.monotonic() + patience
    while not (found := true()):
        assert time.monotonic() < deadline, f"{of} did not come about"
        time.sleep(0.1)
    return found
