"""A size that runs in no time; numbers are unequal primes or their products."""

from experiments.bench.sizes import Size

TINY = Size(
    name="tiny",
    source="nowhere",
    family="gpt2",
    n_layers=3,
    d_model=26,
    n_heads=2,
    d_mlp=53,
    d_vocab=101,
    d_sae=61,
    active=5,
    n_tokens=7,
)
