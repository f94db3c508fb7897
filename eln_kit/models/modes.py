"""Training and evaluation mode."""

from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module):
    """The module in evaluation mode, and back to the mode it had."""
    mode = module.training
    try:
        yield module.eval()
    finally:
        module.train(mode)
