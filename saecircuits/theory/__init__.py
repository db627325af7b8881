"""Exact statements about transformers as pure functions of tensors: no model code in here."""
