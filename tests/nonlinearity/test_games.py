"""Games: a walk with shared runs gives what ablating one set after the other gives."""

import pytest
import torch
from torch import Tensor

import saecircuits as sc
from saecircuits.errors import InputError, UnknownNameError
from saecircuits.nodes.ablation import Kept, ablate_nodes, keep_spots
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.interventions import ERROR, Spot, intervene
from saecircuits.nodes.names import parse_node_id
from saecircuits.nonlinearity.component_game import component_stages
from saecircuits.nonlinearity.members import parse_members
from saecircuits.nonlinearity.node_game import Rest, node_stages, parse_rest
from saecircuits.nonlinearity.walk import walk
from saecircuits.splicing.components import Component, parse_component
from saecircuits.theory.interactions import all_subsets
from tests.by_hand import hand_metric
from tests.models import Toy, make_contrast

RESTS: list[Rest] = ["baseline", "clean"]


def strongest_spots(contrast: Contrast, count: int) -> list[Spot]:
    """Nodes of every site whose single effects are not zero, sites mixed."""
    places, units = range(len(contrast.model.splices)), range(len(contrast.units))
    widths = [splice.dictionary.d_sae for splice in contrast.model.splices]
    spots = [Spot(p, u, f) for p in places for u in units for f in (*range(0, widths[p], 2), ERROR)]
    effects = intervene(contrast, spots).abs().mean(1)
    found: list[Spot] = []
    for place in places:
        here = [n for n, spot in enumerate(spots) if spot.place == place]
        here.sort(key=lambda n: -float(effects[n]))
        found += [spots[n] for n in here[: -(-count // len(places))]]
    return found[:count]


def _kept(contrast: Contrast, spots: list[Spot], row: Tensor, rest: Rest) -> Kept:
    def of(wanted: bool) -> Kept:
        some = [spot for spot, keep in zip(spots, row.tolist(), strict=True) if keep == wanted]
        return keep_spots(contrast.model, len(contrast.units), some)

    return of(True) if rest == "baseline" else of(False).complement()


@pytest.mark.parametrize("rest", RESTS)
@pytest.mark.parametrize("policy", ["recompute", "hold"])
@pytest.mark.parametrize(
    "fixture", ["toy", "toy_mixed", "toy_uneven", "toy_crossing", "llama", "gemma2"]
)
def test_nodes_are_ablated_as_one_by_one(
    request: pytest.FixtureRequest, fixture: str, policy: str, rest: Rest
) -> None:
    toy: Toy = request.getfixturevalue(fixture)
    contrast = make_contrast(toy.model, toy.prompts, positions="span", error_policy=policy)
    spots = strongest_spots(contrast, 6)
    keep = all_subsets(6)[torch.randperm(64)[:24]]
    found = walk(node_stages(contrast, spots, rest), keep)
    expected = ablate_nodes(contrast, [_kept(contrast, spots, row, rest) for row in keep])
    torch.testing.assert_close(found, expected, rtol=0, atol=max(1e-11, 10 * toy.rounding))
    if rest == "clean":
        assert expected.std(0).max() > 0.05


@pytest.mark.parametrize("rest", RESTS)
def test_the_secant_operator_and_small_passes_change_nothing(toy: Toy, rest: Rest) -> None:
    contrast = make_contrast(toy.model, toy.prompts, positions="span", linearization="secant")
    spots = strongest_spots(contrast, 6)
    keep = all_subsets(6)
    stages = node_stages(contrast, spots, rest)
    found = walk(stages, keep)
    expected = ablate_nodes(contrast, [_kept(contrast, spots, row, rest) for row in keep])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(walk(stages, keep, tokens_at_once=60), found, rtol=0, atol=1e-11)
    again = walk(stages, torch.cat([keep[9:], keep[:9], keep[:2]]))
    torch.testing.assert_close(again[:55], found[9:], rtol=0, atol=1e-11)
    torch.testing.assert_close(again[64:], found[:2], rtol=0, atol=1e-11)


def test_tokens_as_members(toy: Toy) -> None:
    contrast = make_contrast(toy.model, toy.prompts, positions="each")
    spots = [Spot(TOKENS, unit, ERROR) for unit in range(5)]
    found = walk(node_stages(contrast, spots, "clean"), all_subsets(5))
    clean, corrupted = toy.prompts.clean_tokens, toy.prompts.corrupted_tokens
    for row, keep in enumerate(all_subsets(5)):
        tokens = clean.clone()
        tokens[:, 1:][:, ~keep] = corrupted[:, 1:][:, ~keep]
        with torch.no_grad():
            expected = hand_metric(toy.model.bridge(tokens), toy.prompts)
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-10)


def _components_by_hand(toy: Toy, gone: list[Component], *, zero: bool) -> Tensor:
    """The metric with these components' results replaced, on the bare bridge."""
    bridge, prompts = toy.model.bridge, toy.prompts
    names = {
        "attention": "hook_attn_out",
        "head": "attn.hook_z",
        "mlp": "hook_mlp_out",
        "neuron": "mlp.hook_post",
    }
    with torch.no_grad():
        _, other = bridge.run_with_cache(prompts.corrupted_tokens)
    hooks = []
    for one in gone:
        name = f"blocks.{one.layer}.{names[one.kind]}"

        def replace(tensor: Tensor, hook: object, one=one, name=name) -> Tensor:
            out, base = tensor.clone(), other[name] * (0 if zero else 1)
            at = {"head": (slice(None), slice(1, None), one.index)}
            at["neuron"] = (slice(None), slice(1, None), one.index)
            where = at.get(one.kind, (slice(None), slice(1, None)))  # BOS stays
            out[where] = base[where]
            return out

        hooks.append((name, replace))
    with torch.no_grad():
        logits = bridge.run_with_hooks(prompts.clean_tokens, fwd_hooks=hooks)
    return hand_metric(logits, prompts)


@pytest.mark.parametrize("baseline", ["corrupted", "zero"])
@pytest.mark.parametrize("rest", RESTS)
@pytest.mark.parametrize("fixture", ["toy", "llama", "gemma2"])
def test_components_by_hand(
    request: pytest.FixtureRequest, fixture: str, rest: Rest, baseline: str
) -> None:
    toy: Toy = request.getfixturevalue(fixture)
    names = ["L0.H1", "L0.MLP", "L1.ATTN", "L1.N3", "L1.N28"]
    members = [parse_component(toy.model, name) for name in names]
    assert [member.name for member in members] == names
    contrast = make_contrast(toy.model, toy.prompts)
    keep = all_subsets(5)[::3]
    found = walk(component_stages(contrast, members, rest, baseline), keep)
    others = []
    if rest == "baseline":
        others = [Component(0, "head", n) for n in range(toy.model.bridge.cfg.n_heads) if n != 1]
        others += [Component(1, "neuron", n) for n in range(29) if n not in (3, 28)]
        for layer in range(2, toy.model.n_layers):
            others += [Component(layer, "attention"), Component(layer, "mlp")]
    for row, kept in enumerate(keep.tolist()):
        gone = [one for one, keeps in zip(members, kept, strict=True) if not keeps]
        expected = _components_by_hand(toy, gone + others, zero=baseline == "zero")
        torch.testing.assert_close(found[row], expected, rtol=0, atol=10 * toy.rounding)
    assert found.std(0).max() > 0.02


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "1 to 128 members, found 0"),
        (["L0.MLP", "token@rest"], "is of one or the other"),
        (["L0.MLP", "L0.MLP"], "more than once"),
        (["L7.MLP"], "layer 7 of 3"),
        (["L1.H2"], "number 2; the layer has 2"),
        (["L1.N29"], "the layer has 29"),
        (["L1.MLQ"], "no node id"),
    ],
)
def test_members_that_make_no_game(toy: Toy, names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_members(Experiment(toy.model, toy.prompts), names)


def test_rests_by_name() -> None:
    assert [parse_rest(rest) for rest in RESTS] == RESTS
    with pytest.raises(UnknownNameError, match="did you mean 'clean'"):
        parse_rest("cleen")


@pytest.mark.parametrize("rest", RESTS)
def test_the_shipped_model_in_float32(rest: Rest) -> None:
    model = sc.load_model("stories")
    prompts = sc.load_task("agreement", model, limit=3).test
    contrast = make_contrast(model, prompts, positions="span")
    graph = sc.attribute(model, prompts, max_nodes=1)
    names = sc.prune(graph, nodes=6).members
    spots = [parse_node_id(model, contrast.units.names, name) for name in names]
    keep = all_subsets(6)[::5]
    found = walk(node_stages(contrast, spots, rest), keep)
    expected = ablate_nodes(contrast, [_kept(contrast, spots, row, rest) for row in keep])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
