"""Sites far apart: models with dictionaries after a few of their layers, by `attribute` as it is.

One model is drawn at random. Another's weights are real and are brought along as a folder. Their
dictionaries are drawn at random, and read what the stream differs by from its mean over the
prompts, so that tokens differ in what is active as much as their streams do. The third is the
public model with its own dictionaries and a task of its own, where its package is installed.
"""

import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from experiments.bench.measuring import Clock, PeakMemory
from experiments.bench.results import DistantResult
from experiments.bench.sizes import Loaded, make_tokenizer, unit_rows, word
from saecircuits.edges.attribute import attribute
from saecircuits.edges.graph import AttributionGraph
from saecircuits.edges.settings import AttributionSettings
from saecircuits.splicing import Dictionary, splice
from saecircuits.splicing.booting import random_bridge
from saecircuits.splicing.loading import load_model
from saecircuits.splicing.packaged import PACKAGED, is_at_hand
from saecircuits.tasks import PromptPair, load_task, tokenize

_SHIPPED, _TASK, _PAIRS = "smollm2", "ioi", 24
_NAMES: Final = (
    ("Mary", "John", "store", "drink"),
    ("Tom", "James", "park", "ball"),
    ("Anna", "Paul", "school", "book"),
    ("Sarah", "Mark", "office", "pen"),
)


@dataclass(frozen=True)
class Distant:
    """A model with dictionaries after a few layers.

    Attributes:
        layers: dictionaries are on the stream after these.
        kind: of the dictionaries; `shipped` are those of the model of this name.
        active: features of a dictionary that are active at a token; of JumpReLU on average.
        max_nodes: edges are computed among so many nodes.
        d_model: of the model that is drawn; None for one that is brought along.
        repeats: after the first run, which is not counted then; with 0 it is.
    """

    name: str
    source: str
    layers: tuple[int, ...]
    kind: Literal["topk", "jumprelu", "shipped"]
    d_sae: int
    active: int
    max_nodes: int
    d_model: int | None = None
    n_layers: int = 12
    repeats: int = 3

    def is_at_hand(self, folder: Path | None) -> bool:
        """Whether it can be measured: it is drawn, was brought along, or is installed."""
        if self.kind == "shipped":
            return is_at_hand(PACKAGED[_SHIPPED])
        return self.d_model is not None or folder is not None

    @property
    def dictionaries(self) -> str:
        """In words."""
        made = "its own" if self.kind == "shipped" else f"random ({self.kind})"
        return (
            f"{made} dictionaries of {self.d_sae:,} features on the stream after layers "
            f"{', '.join(map(str, self.layers))}, {self.active} active per token"
        )


DISTANT: Final = {
    one.name: one
    for one in (
        Distant(
            name="llama-12",
            source="a random Llama of 12 layers of 192, 6 heads, 2 of keys, on four pairs of 14 "
            "random tokens that differ in the second",
            layers=(1, 6, 11),
            kind="jumprelu",
            d_sae=1024,
            active=16,
            max_nodes=120,
            d_model=192,
        ),
        Distant(
            name="smollm2-3",
            source="SmolLM2-135M (30 layers of 576, 9 heads, 3 of keys; its weights are given by "
            "`--model`), on four pairs of indirect objects",
            layers=(4, 14, 24),
            kind="topk",
            d_sae=3840,
            active=32,
            max_nodes=100,
        ),
        Distant(
            name="smollm2-6",
            source=f"SmolLM2-135M from its package, on {_PAIRS} pairs of `{_TASK}`",
            layers=(2, 7, 12, 17, 22, 27),
            kind="shipped",
            d_sae=2560,
            active=40,
            max_nodes=300,
            repeats=0,
        ),
    )
}


def load_distant(distant: Distant, folder: Path | None) -> Loaded:
    """The model with its dictionaries and its prompts.

    Args:
        folder: the model that is brought along, as Hugging Face saves it.
    """
    if distant.kind == "shipped":
        public = load_model(_SHIPPED)
        task = load_task(_TASK, public, limit=_PAIRS)
        return Loaded(public, task.train, "span", "corrupted", distant.max_nodes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if distant.d_model is not None:
            bridge, pairs = _drawn(distant, distant.d_model), _words()
        else:
            from transformer_lens.model_bridge import TransformerBridge

            assert folder is not None, f"{distant.name} is given by a folder"
            bridge = TransformerBridge.boot_transformers(str(folder.resolve()), device="cpu")
            pairs = _sentences()
        sites = {layer: f"blocks.{layer}.hook_resid_post" for layer in distant.layers}
        d_model = int(bridge.cfg.d_model)
        drawn = {name: _dictionary(distant, d_model) for name in sites.values()}
    model = splice(bridge, drawn, name=distant.name)
    prompts = tokenize(pairs, model.tokenizer, n_ctx=model.n_ctx)
    streams, _ = model.streams(prompts.clean_tokens)
    centred = {
        name: _fitted(drawn[name], streams[layer + 1][:, 1:].flatten(0, 1), distant)
        for layer, name in sites.items()
    }
    spliced = splice(bridge, centred, name=distant.name)
    return Loaded(spliced, prompts, "each", "corrupted", distant.max_nodes)


def _drawn(distant: Distant, d_model: int) -> Any:
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=101,
        hidden_size=d_model,
        intermediate_size=512,
        num_hidden_layers=distant.n_layers,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=d_model // 6,
        max_position_embeddings=64,
        initializer_range=0.06,
        bos_token_id=0,
        eos_token_id=0,
    )
    return random_bridge(config, make_tokenizer(101))


def _words() -> list[PromptPair]:
    pairs = []
    for number in range(4):
        words = [word(1 + (7 * number + 11 * place) % 97) for place in range(14)]
        other = [words[0], word(98), *words[2:]]
        pairs.append(_pair(str(number), " ".join(words), " ".join(other), word(99), word(100)))
    return pairs


def _sentences() -> list[PromptPair]:
    pairs = []
    for name, other, place, thing in _NAMES:
        text = f"When {name} and {other} went to the {place}, {{}} gave a {thing} to"
        ends = f" {name}", f" {other}"
        pairs.append(_pair(name, text.format(other), text.format(name), *ends))
    return pairs


def _pair(name: str, clean: str, corrupted: str, answer: str, wrong: str) -> PromptPair:
    return PromptPair(
        clean=clean,
        corrupted=corrupted,
        answer=(answer,),
        wrong=(wrong,),
        id=name,
        clean_spans=(),
        corrupted_spans=(),
    )


def _dictionary(distant: Distant, d_model: int) -> Dictionary:
    W_dec = unit_rows(torch.randn(distant.d_sae, d_model, device="cpu"))
    zero = W_dec.new_zeros(d_model)
    return Dictionary(
        kind="topk",
        W_enc=W_dec.T.contiguous(),
        b_enc=W_dec.new_zeros(distant.d_sae),
        W_dec=W_dec,
        b_dec=zero,
        shift=zero,
        k=distant.active,
    )


def _fitted(
    dictionary: Dictionary, stream: Float[Tensor, "n_token d_model"], distant: Distant
) -> Dictionary:
    """The dictionary about the mean of a stream; of JumpReLU with the threshold that it needs."""
    mean = stream.mean(0)
    found = replace(dictionary, b_dec=mean, shift=mean)
    if distant.kind == "topk":
        return found
    weakest = ((stream - mean) @ dictionary.W_enc).topk(distant.active, 1).values[:, -1].mean()
    threshold = weakest.expand(distant.d_sae).clone()
    return replace(found, kind=distant.kind, k=None, threshold=threshold)


def measure(distant: Distant, loaded: Loaded, threads: int) -> list[DistantResult]:
    """`attribute` with gates held and with thresholds crossed, by either engine in turn."""
    results = []
    first: AttributionGraph | None = None
    for thresholds in ("held", "crossed"):
        for engine in ("auto", "reference"):
            settings = AttributionSettings(
                positions=loaded.positions,
                engine=engine,
                thresholds=thresholds,
                max_nodes=loaded.max_nodes,
            )
            memory = PeakMemory()
            # Not counted where there are others: first calls make what is kept.
            graph, *spent = _timed(loaded, settings)
            peak = memory.above()
            times = [_timed(loaded, settings)[1:] for _ in range(distant.repeats)] or [spent]
            first = graph if engine == "auto" or first is None else first
            results.append(
                DistantResult(
                    size=distant.name,
                    engine=engine,
                    thresholds=thresholds,
                    threads=threads,
                    edges=len(graph.edges),
                    node_seconds=statistics.median(nodes for nodes, _ in times),
                    edge_seconds=statistics.median(edges for _, edges in times),
                    peak_bytes=peak,
                    difference=None if graph is first else _apart(graph, first),
                )
            )
    return results


def _timed(loaded: Loaded, settings: AttributionSettings) -> tuple[AttributionGraph, float, float]:
    """The graph, and CPU seconds up to the last node's effect and from there on."""
    clock, nodes = Clock(), 0.0

    def progress(stage: str, share: float) -> None:
        nonlocal nodes
        if stage == "nodes":
            nodes = clock.so_far()

    with clock.running():
        graph = attribute(loaded.model, loaded.prompts, settings=settings, progress=progress)
    return graph, nodes, clock.cpu - nodes


def _apart(graph: AttributionGraph, other: AttributionGraph) -> float:
    """The largest difference of an edge's effect, relative to the largest effect."""
    one, two = (
        found.edges.set_index(["source", "target"])["effect"].sort_index()
        for found in (graph, other)
    )
    return float((one - two).abs().max() / two.abs().max())
