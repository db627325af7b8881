"""What can be done with a model of a family: sites, engines, agreement, held operators, a run."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from sae_lens import SAE

import saecircuits as sc
from experiments.families.zoo import WORDS, Family, load, save
from saecircuits.edges.factorised import covers
from saecircuits.errors import SiteError, cut
from saecircuits.features.texts import no_contexts
from saecircuits.splicing import Linearization, splice
from saecircuits.splicing.operators import record_operator

_FEATURES: Final = 31
_READS: Final = ("ln2.hook_normalized", "mlp.hook_in")
_SHOWN: Final = 120
_TRIED: Final = ("stream", "components", *(f"reads {read}" for read in _READS), "frozen", "secant")
_AGREE: Final = 1e-4  # of the largest edge; rounding in float32 is a hundredth of it


def random_sae(kind: str, *, d_in: int, seed: int, read: str | None = None) -> SAE:
    """A dictionary of sae_lens's with random weights, about a third of its features active.

    Args:
        read: the hook point that a transcoder reads.
    """
    generator = torch.Generator().manual_seed(seed)
    settings: dict[str, Any] = {
        "architecture": kind, "d_in": d_in, "d_sae": _FEATURES, "dtype": "float32",
        "device": "cpu", "normalize_activations": "none",
        "apply_b_dec_to_input": read is None, "metadata": {},
    }  # fmt: skip
    if read is not None:
        settings |= {"d_out": d_in, "metadata": {"hook_name": read}}
    sae = SAE.from_dict(settings)
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            size = 1 / d_in**0.5 if name.startswith("W_") else 0.2
            drawn = torch.randn(parameter.shape, generator=generator) * size
            parameter.copy_(drawn.bfloat16())
            if name == "threshold":
                parameter.abs_()
    return sae


def at(bridge: Any, kinds: Sequence[str], *, read: str | None = None) -> dict[str, SAE]:
    """Random dictionaries at these hook points of every block that has them.

    Args:
        read: what transcoders read in their block; SAEs if None.
    """
    found: dict[str, SAE] = {}
    for layer in range(int(bridge.cfg.n_layers)):
        for kind in kinds:
            hook = f"blocks.{layer}.{kind}"
            if hook in bridge.hook_dict or kind == "hook_resid_post":
                reads = None if read is None else f"blocks.{layer}.{read}"
                gate = "jumprelu" if read is None else "jumprelu_transcoder"
                d_in = int(bridge.cfg.d_model)
                found[hook] = random_sae(gate, d_in=d_in, seed=len(found), read=reads)
    return found


def write_task(path: Path) -> Path:
    """Pairs of the words that differ in the second one."""
    generator = torch.Generator().manual_seed(3)
    lines = []
    for number in range(8):
        words = [f"w{int(w)}" for w in torch.randint(1, WORDS - 5, (5,), generator=generator)]
        other = [words[0], f"w{WORDS - 5 + number % 3}", *words[2:]]
        row = {"clean": " ".join(words), "corrupted": " ".join(other)}
        lines.append(json.dumps({**row, "answer": f"w{1 + number % 7}", "wrong": "w9"}))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def agreement(model: sc.SplicedModel, task: sc.Task) -> float:
    """How far the edges of the two engines are apart, relative to the largest."""
    tables = [
        sc.attribute(model, task.train, engine=engine, max_nodes=40).edges
        for engine in ("factorised", "reference")
    ]
    both = tables[0].merge(tables[1], on=["source", "target"], how="outer").fillna(0.0)
    gap = (both["effect_x"] - both["effect_y"]).abs().max()
    return float(gap / both["effect_y"].abs().max())


def coverage(family: Family, folder: Path, *, is_published: bool) -> dict[str, str]:
    """A row of the table: what the model of a family can be used for, and what stands against it.

    Args:
        folder: for the model, a task, and a run if `is_published`.
    """
    save(family, folder)
    task_file = write_task(folder / "task.jsonl")
    tried = (*_TRIED, *(["run"] if is_published else []))
    row = {"family": family.name, "for instance": family.like, "engine": "refused"}
    try:
        bridge = load(folder)
        stream = on_stream(bridge, family)
    except sc.SaecircuitsError as error:
        return {**row, **dict.fromkeys(tried, ""), "why": _short(str(error), family)}
    task = sc.load_task(task_file, stream)
    against = covers(stream)
    row["engine"] = "factorised" if against is None else "reference"

    def edges(model: sc.SplicedModel) -> str:
        if covers(model) is None:
            gap = agreement(model, task)
            return f"{gap:.0e}" if gap < _AGREE else f"ENGINES DIFFER by {gap:.2g}"
        return "yes" if len(sc.attribute(model, task.train, max_nodes=20).edges) else "no edges"

    def held(kind: Linearization) -> str:
        record_operator(bridge, task.train.clean_tokens, kind=kind)
        return "yes"

    parts = ("hook_attn_out", "hook_mlp_out")
    found = {
        "stream": _tried(lambda: edges(stream)),
        "components": _tried(lambda: edges(splice(bridge, at(bridge, parts)))),
    }
    for read in _READS:
        transcoders = at(bridge, ["hook_mlp_out"], read=read)
        found[f"reads {read}"] = _tried(lambda given=transcoders: edges(splice(bridge, given)))
    found |= {"frozen": _tried(lambda: held("frozen")), "secant": _tried(lambda: held("secant"))}
    if is_published:
        run = folder / "run"
        found["run"] = _tried(lambda: _published(stream, task, run))
    return {**row, **found, "why": against or ""}


def _published(model: sc.SplicedModel, task: sc.Task, folder: Path) -> str:
    sc.discover(model, task, folder, nodes=8, contexts=no_contexts())
    return "yes"


def on_stream(bridge: Any, family: Family) -> sc.SplicedModel:
    """Dictionaries on the stream after every block, or before it where that is what is shown."""
    try:
        return splice(bridge, at(bridge, ["hook_resid_post"]), name=family.name)
    except SiteError:
        return splice(bridge, at(bridge, ["hook_resid_pre"]), name=family.name)


def _tried(what: Callable[[], str]) -> str:
    """What came of something: a dash where it was refused, or the exception that it died of."""
    try:
        return what()
    except sc.SaecircuitsError:
        return "-"
    except Exception as error:  # what is looked for
        return f"DIES: {type(error).__name__}"


def _short(message: str, family: Family) -> str:
    """The part of a refusal that says what was found."""
    start = message.find(f"({family.model})")
    found = message.partition("' ")[2] if start < 0 else message[start + len(family.model) + 3 :]
    return cut(found.split("; ")[0], _SHOWN)
