"""What the package computes, as functions of tensors alone: no model is known here."""
