"""Pure mathematics of path expansion: arrays and tensors in and out, no model."""
