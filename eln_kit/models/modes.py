"""Training and evaluation mode."""

from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module):
    """The module in evaluation mode, and back to the mode it had."""
    was_training = module.training
    try:
        yield module.eval() if was_training else module  # going through all parts takes a millisecond
    finally:
        if was_training:
            module.train()
