"""A cell: a model of a family with dictionaries of a kind at a place, from loading to validation.

In float64 (float32 where a model's own products know no other), on a task of a few pairs, of every
cell these laws are checked:

    identity      with its dictionaries spliced in, the model's logits are the model's
    boundaries    every node kept: the clean metric; none kept: the baseline's
    conservation  a node's out-edges add up to its gradient effect
    engines       where the factorised engine covers the model, its edges are autograd's
    validation    a circuit is found and its report is finite
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

import saecircuits as sc
from experiments.families.measure import write_task
from experiments.families.zoo import FAMILIES, Family, load, save
from experiments.matrix.dictionaries import KINDS, Kind, write_cross_layer
from saecircuits.edges.factorised import covers
from saecircuits.errors import ModelError, SaecircuitsError
from saecircuits.splicing.cross_layer_folder import read_cross_layer
from saecircuits.splicing.folders import read_dictionaries
from saecircuits.splicing.observation import pass_through

# Norms compute in float32 in some models, and are held in float64.
_CLOSE: Final = {"float64": 2e-5, "float32": 5e-3}
# Beside whose models transformers puts another tokenizer in the place of one of words.
_REPLACED: Final = ("qwen2",)


@dataclass(frozen=True)
class Cell:
    """A model family, a kind of dictionary, and where the dictionaries sit."""

    family: Family
    kind: Kind
    place: str

    @property
    def name(self) -> str:
        """In words, for tables and tests."""
        return f"{self.family.name} | {self.kind.name} | {self.place.format('n')}"


def every_cell() -> Iterator[Cell]:
    """All of them, family by family."""
    for family in FAMILIES:
        for kind in KINDS:
            for place in kind.places:
                yield Cell(family, kind, place)


def covering(families: Sequence[Family] = FAMILIES) -> list[Cell]:
    """One cell of every family, and every kind at every of its places at least once."""
    pairs = [(kind, place) for kind in KINDS for place in kind.places]
    count = max(len(pairs), len(families))
    # A step without a common factor, so that families of one sort meet kinds of all sorts.
    step = next(n for n in range(7, count + 8) if np.gcd(n, len(pairs)) == 1)
    return [
        Cell(families[number % len(families)], *pairs[number * step % len(pairs)])
        for number in range(count)
    ]


def checked(cell: Cell, folder: Path) -> dict[str, Any]:
    """What came of a cell: the engine, the largest gap of every law, or why it was refused.

    Args:
        folder: an empty one, for model, dictionaries and task.

    Raises:
        AssertionError: a law does not hold.
    """
    found: dict[str, Any] = {"cell": cell.name, "engine": "", "why": ""}
    save(cell.family, folder)
    task_file = write_task(folder / "task.jsonl")
    try:
        model = loaded(cell, folder)
    except SaecircuitsError as error:
        return {**found, "engine": "refused", "why": str(error)}
    task = sc.load_task(task_file, model)
    prompts = task.train.subset(range(3))
    found["dtype"] = str(model.dtype).removeprefix("torch.")
    against = covers(model)
    found |= {"engine": "factorised" if against is None else "reference", "why": against or ""}
    found["identity"] = _identity(model, prompts.clean_tokens)
    experiment = sc.Experiment(model, prompts, positions="sum")
    found["boundaries"] = _boundaries(experiment)
    graph = sc.attribute(experiment, max_nodes=None, thresholds="held")
    found["conservation"] = _conservation(graph)
    if against is None:
        other = sc.attribute(experiment, max_nodes=None, thresholds="held", engine="reference")
        found["engines"] = _apart(graph, other)
    for law in ("identity", "boundaries", "conservation", "engines"):
        gap = found.get(law, 0.0)
        assert gap < _CLOSE[found["dtype"]], f"{cell.name}: {law} is off by {gap:.1e}"
    circuit = sc.prune(graph, nodes=6)
    report = sc.validate(model, circuit, task.test, reference=prompts, n_random=2)
    assert np.isfinite(report.faithfulness), f"{cell.name}: faithfulness is {report.faithfulness}"
    return found


def loaded(cell: Cell, folder: Path) -> sc.SplicedModel:
    """The model of a cell with its dictionaries, all read from the folder."""
    own = folder / "model"
    _put_tokenizer_beside(folder, own)
    config: dict[str, Any] = json.loads((own / "config.json").read_text(encoding="utf-8"))
    width, n_layers = _sizes(config)
    place = folder / "dictionaries"
    if cell.kind.is_whole:
        write_cross_layer(place, cell.place.split(".", 2)[2], width, n_layers)
    for layer in range(0 if cell.kind.is_whole else n_layers):
        _write(cell, place, layer, width, config)
    if config["model_type"] in _REPLACED:
        listed = read_dictionaries(place).dictionaries
        found = {one.writes: one.load() for one in listed} or read_cross_layer(place)
        return sc.splice(load(folder, dtype=torch.float64), found, name=cell.family.name)
    try:
        return sc.load_model(own, dictionaries=f"{place}:all", dtype="float64", insist=True)
    except ModelError as error:
        if "does not run in float64" not in str(error):
            raise
    return sc.load_model(own, dictionaries=f"{place}:all", dtype="float32", insist=True)


def _write(cell: Cell, folder: Path, layer: int, width: int, config: dict[str, Any]) -> None:
    if "{}" not in cell.place and layer:
        return
    at = cell.place.format(layer)
    heads = at.endswith("hook_z")
    d_in = _heads_width(config) if heads else width
    hook = f"blocks.{layer}.hook_mlp_out" if cell.kind.is_transcoder else at
    # Those of one set share a folder, others have one each.
    own = (
        folder if cell.kind.name in ("transcoder_set", "sparsify", "sparsify transcoder") else None
    )
    cell.kind.write(own or folder / f"layer_{layer}", hook, at, d_in, d_in, layer)


def _put_tokenizer_beside(folder: Path, model: Path) -> None:
    for path in (folder / "tokenizer").iterdir():
        if not (model / path.name).exists():
            (model / path.name).write_bytes(path.read_bytes())


def _sizes(config: dict[str, Any]) -> tuple[int, int]:
    width = next(config[name] for name in ("hidden_size", "n_embd", "d_model") if name in config)
    names = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")
    return width, next(config[name] for name in names if config.get(name))


def _heads_width(config: dict[str, Any]) -> int:
    names = ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads")
    heads = next((config[name] for name in names if config.get(name)), 1)
    each = config.get("v_head_dim") or config.get("head_dim") or _sizes(config)[0] // heads
    return heads * each


@torch.no_grad()
def _identity(model: sc.SplicedModel, tokens: torch.Tensor) -> float:
    plain = model.forward(tokens)
    spliced = model.forward(tokens, at_site=pass_through(model, None))
    return float((plain - spliced).abs().max() / plain.abs().max())


def _boundaries(experiment: sc.Experiment) -> float:
    everything = experiment.keep_all()
    ends = experiment.ablated([everything, everything.complement()])
    clean = experiment.per_prompt(lambda batch: batch.metric(batch.clean.logits)[None])[0]
    scale = max(float(np.abs(ends).max()), 1e-9)
    return float(np.abs(ends[0] - clean).max() / scale)


def _conservation(graph: sc.AttributionGraph) -> float:
    nodes = graph.nodes[graph.nodes["kind"] != "metric"]
    return float(nodes["left_out"].abs().max() / graph.nodes["effect"].abs().max())


def _apart(graph: sc.AttributionGraph, other: sc.AttributionGraph) -> float:
    both = graph.edges.merge(other.edges, on=["source", "target"], how="outer").fillna(0.0)
    return float((both["effect_x"] - both["effect_y"]).abs().max() / both["effect_y"].abs().max())
