"""The path expansion: exact for the frozen operator, by degree and by path, in every family."""

from functools import partial

import pytest
import torch
from torch import Tensor

import saecircuits as sc
from saecircuits.expansion.affine import AffineRun, affine_run
from saecircuits.expansion.prompt import Metric, read_baseline
from saecircuits.expansion.readouts import Readout, logit_map, read_feature, read_logits
from saecircuits.expansion.remainder import tangent_remainder
from saecircuits.splicing import SplicedModel, record_operator, splice
from saecircuits.splicing.component_runs import ComponentRuns
from saecircuits.splicing.hooking import attached, recording
from saecircuits.splicing.model import AtTokens
from saecircuits.splicing.operators import Linearization
from saecircuits.splicing.part_hooks import final_norm_hooks
from saecircuits.splicing.partial import SOURCES
from saecircuits.splicing.sites import LOGITS_HOOK
from saecircuits.theory import all_paths, degree_spectrum, paths_by_degree, reads
from tests.architectures import BUILDERS, Float64Throughout, build
from tests.models import random_sae

TOKENS = torch.tensor([0, 4, 9, 2, 11, 7, 3])
OTHER = torch.tensor([0, 4, 13, 2, 20, 7, 5])
PROMPTS = ["Once upon a time there was a little girl. She", "Tom and Anna went to the park."]


@pytest.fixture(scope="module", params=BUILDERS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SplicedModel:
    """A random model of every family, in float64, with a dictionary at every kind of site."""
    bridge = build(request.param, tmp_path_factory.mktemp(request.param))
    d_model, last = bridge.cfg.d_model, bridge.cfg.n_layers - 1
    d_heads = bridge.blocks[0].attn.W_O.shape[-3:-1].numel()
    dictionaries = {
        "blocks.0.hook_resid_pre": random_sae("jumprelu", d_in=d_model, seed=1),
        "blocks.0.attn.hook_z": random_sae("standard", d_in=d_heads, seed=2),
        "blocks.0.hook_mlp_out": random_sae("topk", d_in=d_model, seed=4, k=7),
        "blocks.1.hook_attn_out": random_sae("gated", d_in=d_model, seed=3),
        f"blocks.{last}.hook_resid_post": random_sae("jumprelu", d_in=d_model, seed=6),
    }
    # What OPT's MLP reads is not recorded, so a transcoder has nothing to read there.
    if request.param != "opt":
        metadata = {"hook_name": f"blocks.{last}.mlp.hook_in"}
        dictionaries[f"blocks.{last}.hook_mlp_out"] = random_sae(
            "transcoder", d_in=d_model, seed=5, metadata=metadata
        )
    return splice(bridge, dictionaries)


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    """Equal, relative to the largest value expected."""
    size = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * size)


def test_components_by_themselves_write_what_they_wrote(model: SplicedModel) -> None:
    with Float64Throughout():
        run = affine_run(model, TOKENS)
        parts = ComponentRuns(model, TOKENS)
        streams = reads(run.source, run.outputs)
        close(streams[-1], run.stream)
        for layer, (attention, mlp) in enumerate(
            zip(run.attention_steps, run.mlp_steps, strict=True)
        ):
            hooks = run.recording.block(layer)
            read = streams[[attention, mlp]]
            written = run.recording[hooks.attention_out]
            close(parts.attention(layer, read)[:1], written)
            close(parts.mlp(layer, read)[1:], run.recording[hooks.mlp_out])
            results = run.recording[hooks.attention.heads][0]
            close(parts.head(layer, 1, read[:1], results), written)


def _moved(embeddings: Tensor) -> Tensor:
    noise = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(3)).double()
    return embeddings + noise * embeddings.std()


def _under(
    model: SplicedModel, run: AffineRun, operator: Linearization
) -> tuple[Tensor, Tensor, Tensor]:
    """Source, final stream and logits of the bridge under the operator, from moved embeddings.

    The tangents of `frozen` are derivatives: of the model itself with patterns and norms held.
    """
    names = [run.recording.block(0).before, final_norm_hooks().reads, LOGITS_HOOK]

    def ends(at_tokens: AtTokens | None = None) -> tuple[Tensor, Tensor, Tensor]:
        with recording(model.bridge, model.hook_points, names) as seen:
            model.forward(TOKENS[None], at_tokens=at_tokens, operator=held)
        source, stream, logits = (seen[name][0] for name in names)
        return source, stream, logits

    held = record_operator(model.bridge, TOKENS[None], kind=operator)
    if operator == "secant":
        return ends(_moved)
    # A central difference would not reach 1e-9; forward-mode differentiation does.
    source, _, _ = ends(_moved)
    clean_source, stream, logits = ends()

    def final(embedded: Tensor) -> tuple[Tensor, Tensor]:
        kept: dict[str, Tensor] = {}

        def keep(name: str, tensor: Tensor, hook: object) -> None:
            kept[name] = tensor

        hooks = [(name, partial(keep, name)) for name in names[1:]]
        with attached(model.bridge, model.hook_points, hooks):
            model.forward(
                TOKENS[None],
                at_tokens=lambda _: embedded,
                operator=held,
            )
        return kept[names[1]][0], kept[names[2]][0]

    embeddings: list[Tensor] = []
    model.forward(TOKENS[None], at_tokens=embeddings.append)
    (clean,) = embeddings
    _, change = torch.autograd.functional.jvp(final, clean.detach(), _moved(clean.detach()) - clean)
    assert (source - clean_source).abs().max() > 0
    return source, stream + change[0], logits + change[1]


@pytest.mark.parametrize(
    ("operator", "by"), [("secant", "layer"), ("frozen", "layer"), ("secant", "head")]
)
def test_degrees_add_up_to_the_stream_also_from_elsewhere(
    model: SplicedModel, operator: Linearization, by: str
) -> None:
    with Float64Throughout():
        run = affine_run(model, TOKENS, operator=operator, by=by)
        close(degree_spectrum(run.source, run.steps).sum(0), run.stream)
        if by == "head":
            parts = [
                torch.stack([one.linear(run.stream) for one in step.components]).sum(0)
                for step in run.steps
            ]
            for part, step in zip(parts, run.steps, strict=True):
                close(part, step.linear(run.stream))
            return
        source, stream, logits = _under(model, run, operator)
        found = degree_spectrum(source, run.steps).sum(0)
        assert (found - run.stream).abs().max() > 1e-2 * run.stream.abs().max()
        close(found, stream)
        raw, scale = run.recording[LOGITS_HOOK][0], run.anatomy.unembedding.scale
        for position in (0, 5):
            change = logit_map(run, found - run.stream, position)
            close(scale * raw[position] + change, scale * logits[position])


@pytest.mark.parametrize("operator", ["secant", "frozen"])
def test_one_pass_equals_all_subsets(model: SplicedModel, operator: str) -> None:
    with Float64Throughout():
        run = affine_run(model, TOKENS, operator=operator)
        assert len(run.names) in (4, 6)
        paths = all_paths(run.source, run.steps)
        terms = degree_spectrum(run.source, run.steps)
        counts = paths_by_degree([len(step.components) for step in run.steps])
        assert sum(counts) == len(paths)
        for degree, term in enumerate(terms):
            of_degree = [value for path, value in paths.items() if len(path) == degree]
            assert len(of_degree) == counts[degree]
            close(term, torch.stack(of_degree).sum(0))


def test_readouts_are_affine_with_a_constant_of_the_weights_alone(model: SplicedModel) -> None:
    # Whatever the prompt and the position, the constant is the same; so nothing of the stream is
    # hidden in it. Where a feature is active its pre-activation is its activation.
    seen: dict[int, Tensor] = {}

    def at_site(index: int, read: Tensor, write: Tensor) -> None:
        seen[index] = read.reshape(len(TOKENS), -1)

    checked = 0
    with Float64Throughout():
        runs = [affine_run(model, tokens) for tokens in (TOKENS, OTHER)]
        logits = [
            read_logits(run, degree_spectrum(run.source, run.steps), at)
            for run, at in zip(runs, (2, 6), strict=True)
        ]
        close(logits[0].terms.sum(0) + logits[0].constant, logits[0].value)
        assert (logits[0].constant - logits[1].constant).abs().max() < 1e-9 * logits[0].value.norm()
        found: dict[tuple[int, int], list[Readout]] = {}
        for run in runs:
            model.forward(run.tokens[None], at_site=at_site)
            for index, splice_ in enumerate(model.splices):
                acts = splice_.dictionary.encode(seen[index])
                for feature in (3, 4, 5):
                    way = read_feature(run, splice_, feature, 5, seen[index])
                    found.setdefault((index, feature), []).append(way)
                    if acts[5, feature] > 0:
                        close(way.value, acts[5, feature])
                        checked += 1
    for ways in found.values():
        size = max(float(way.terms.abs().sum()) for way in ways)
        assert float((ways[0].constant - ways[1].constant).abs()) < 1e-9 * size
        for way in ways:
            assert float((way.terms.sum() + way.constant - way.value).abs()) < 1e-9 * size
    assert checked >= 5


def test_the_remainder_lies_between_the_tangent_operator_and_the_model(
    model: SplicedModel,
) -> None:
    with Float64Throughout():
        run = affine_run(model, TOKENS, operator="frozen")
        baseline = read_baseline(model, TOKENS, OTHER)
        metric, raw = Metric("w3 - w5", 3, 5, 6), run.recording[LOGITS_HOOK][0]
        left = tangent_remainder(model, TOKENS, baseline, metric)
        close(left.stream_in_order.sum(0), left.stream)
        close(left.stream_shapley.sum(0), left.stream)
        names = [run.recording.block(0).before, final_norm_hooks().reads, LOGITS_HOOK]
        with recording(model.bridge, model.hook_points, names) as seen:
            model.forward(OTHER[None])
            stream, logits = (seen[name][0] for name in names[1:])
            # A norm on the embeddings is held too.
            model.forward(OTHER[None], operator=run.recording.operator)
            source = seen[names[0]][0]
        close(left.stream_change, run.stream - stream)
        change = run.anatomy.unembedding.scale * metric.of(raw[-1] - logits[-1])
        close(change, raw.new_tensor(left.metric_change))
        straight = degree_spectrum(source, run.steps).sum(0)
        close(left.stream_tangent, run.stream - straight)
        change = logit_map(run, run.stream - straight, 6)
        close(metric.of(change), raw.new_tensor(left.metric_tangent))
        assert float(left.stream.norm()) > 0.01 * float(left.stream_change.norm())
        assert len(left.table) == len(SOURCES) + 1


@pytest.fixture(scope="module")
def stories() -> SplicedModel:
    return sc.load_model("stories")


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("operator", ["secant", "frozen"])
def test_on_the_shipped_model(stories: SplicedModel, operator: str, prompt: str) -> None:
    expansion = sc.expand(stories, prompt, operator=operator, by="head")
    close(expansion.terms.sum(0), expansion.stream, 1e-4)
    logits = expansion.logits()
    close(logits.terms.sum(0) + logits.constant, logits.value, 1e-4)
    assert expansion.error[-1] < 1e-4
    assert max(expansion.naive_error) > 10
