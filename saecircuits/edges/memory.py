"""How much is done at one time, so that an attribution stays within a limit.

The limit is for what an attribution holds beside the model and its dictionaries. A quarter of it is
for the runs that are kept from stage to stage, a quarter for the edges of one chunk of targets, and
half for one forward and backward pass; the table of edges is taken off first. Sizes are counted in
numbers of the model's dtype (float32 at least), for prompts of T tokens, from upper bounds that
hold for every architecture here:

    a pass     L (T (24 d_model + 6 d_mlp) + 2 H T^2) + 4 H T^2             per prompt
               + 4 T d_vocab
    a run      8 P T d_model + K L (T (12 d_model + 2 d_mlp) + 2 H T^2)     per prompt, P places, at
               + T d_vocab                                                 K points of a line
    a target   R ((4 + 2 W) d_model + 3 d_mlp + 8 H (d_head + T))          R rows, one for each of
               + S ((4 + 5 K) n_prompt + 6 H + 2)                          its tokens; S sources;
                                                                           K tokens to a unit where
                                                                           thresholds are crossed

where a place whose features write at W places (cross-layer transcoders; W is 1 for all others)
counts as W in P.
"""

from dataclasses import dataclass
from typing import Any, Final

from saecircuits.edges.settings import AttributionSettings
from saecircuits.errors import InputError
from saecircuits.memory_limit import readable
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.room import block_numbers
from saecircuits.tasks import Prompts

# An edge in the table, with its ends, figures and parts (bytes, measured on tables of many parts).
_EDGE_BYTES: Final = 1_000
# What is dense for a moment: activations as they are encoded (`splicing.activations`), rows as they
# are spread over their tokens (`factorised.spread`); and rounding.
_CONSTANT_BYTES: Final = 250_000_000
_MOST_TARGETS: Final = 512


@dataclass(frozen=True)
class MemoryPlan:
    """How much is done at one time.

    Attributes:
        batch_size: prompts in one pass.
        is_kept: True where all runs are kept; False where they are made anew for every chunk.
        for_targets: bytes for the edges of one chunk of targets.
        limit: bytes for all of it.
    """

    batch_size: int
    is_kept: bool
    for_targets: int
    limit: int

    @property
    def of_experiment(self) -> dict[str, Any]:
        """What an `Experiment` is to keep to, by name."""
        kept = {"batch_size": self.batch_size, "keeps_runs": self.is_kept}
        return kept | {"memory_limit": self.limit}


def plan_memory(model: SplicedModel, prompts: Prompts, settings: AttributionSettings) -> MemoryPlan:
    """The largest batches that fit, and whether the runs of all prompts do.

    Raises:
        InputError: not even one prompt at a time fits.
    """
    limit, size = int(settings.memory_limit), _Sizes.of(model, prompts, settings)
    table = _EDGE_BYTES * min(settings.max_edges, _most_edges(settings))
    rest = limit - table - _CONSTANT_BYTES
    batch_size = min(settings.batch_size, rest // 2 // size.of_pass)
    if batch_size < 1:
        needed = table + _CONSTANT_BYTES + 2 * size.of_pass
        raise InputError(
            f"memory_limit is {readable(limit)}, but one prompt of {size.n_pos} tokens and a "
            f"table of {settings.max_edges:,} edges need about {readable(needed)} beside the "
            "model; raise memory_limit, or lower max_edges"
        )
    is_kept = size.of_run * len(prompts) <= rest // 4
    return MemoryPlan(batch_size, is_kept, rest // 4, limit)


def targets_at_once(
    plan: MemoryPlan,
    model: SplicedModel,
    prompts: Prompts,
    settings: AttributionSettings,
    *,
    n_source: int,
    n_unit: int,
    n_slice: int = 0,
) -> int:
    """How many targets' edges fit at one time; at least one.

    Args:
        n_slice: units of one token that each target is taken apart into to cross thresholds.
    """
    size = _Sizes.of(model, prompts, settings)
    rows = plan.batch_size * max(1, size.n_pos // max(n_unit, 1))
    n_part = 2 + 6 * size.n_head if settings.parts else 0
    sums = (4 + 5 * n_slice) * len(prompts)
    numbers = rows * size.of_row + n_source * (sums + n_part)
    # Summed and compared in float64.
    bytes_each = size.itemsize * numbers + 8 * n_source * (len(prompts) + 4)
    return max(1, min(_MOST_TARGETS, plan.for_targets // bytes_each))


@dataclass(frozen=True)
class _Sizes:
    """Bytes of a pass and of a run, per prompt; numbers of a row."""

    n_pos: int
    n_head: int
    itemsize: int
    of_pass: int
    of_run: int
    of_row: int

    @classmethod
    def of(cls, model: SplicedModel, prompts: Prompts, settings: AttributionSettings) -> "_Sizes":
        cfg = model.bridge.cfg
        layers, heads, d_head = int(cfg.n_layers), int(cfg.n_heads), int(cfg.d_head)
        d_model, d_vocab = int(cfg.d_model), int(cfg.d_vocab)
        d_mlp = int(getattr(cfg, "d_mlp", None) or 4 * d_model)
        of_block = block_numbers(model)
        n_pos = max(prompts.clean_tokens.shape[1], prompts.corrupted_tokens.shape[1])
        written = [splice.dictionary.n_written for splice in model.splices]
        points, places = settings.chosen_estimator.points, sum(written) + 1
        square = heads * n_pos**2
        of_pass = layers * (n_pos * of_block + 2 * square)
        of_pass += 4 * square + 4 * n_pos * d_vocab
        of_run = points * layers * (n_pos * (12 * d_model + 2 * d_mlp) + 2 * square)
        of_run += 8 * places * n_pos * d_model + n_pos * d_vocab
        of_row = (4 + 2 * max(written)) * d_model + 3 * d_mlp + 8 * heads * (d_head + n_pos)
        itemsize = model.working_dtype.itemsize
        return cls(n_pos, heads, itemsize, itemsize * of_pass, itemsize * of_run, of_row)


def _most_edges(settings: AttributionSettings) -> int:
    """Edges among this many nodes, and from each to the metric."""
    n = settings.max_nodes
    return settings.max_edges if n is None else n * (n + 1) // 2
