"""The paper: losses, contrast, what a filter keeps, and the stages that put them together."""
