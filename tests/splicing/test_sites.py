"""Sites: which hook points may carry a dictionary, under which names, and in which order."""

import pytest

from saecircuits.errors import SiteError, UnknownNameError
from saecircuits.splicing.part_hooks import mlp_hooks
from saecircuits.splicing.sites import make_site, spliceable_hooks
from tests.models import Toy

ALIASES = {
    "hook_in": "hook_resid_pre",
    "attn.o.hook_in": "attn.hook_z",
    "attn.hook_out": "hook_attn_out",
    "ln2.hook_in": "hook_resid_mid",
    "mlp.hook_out": "hook_mlp_out",
    "hook_out": "hook_resid_post",
}


def test_every_site_of_the_model_in_order_of_computation(toy: Toy) -> None:
    # The order in which the hook points fire is the model's own; sites must sort alike.
    bridge = toy.model.bridge
    known = bridge.hook_dict
    names = spliceable_hooks(known)
    assert len(names) == 6 * bridge.cfg.n_layers + 1
    fired: list[str] = []

    def note(name: str):
        return lambda tensor, hook: fired.append(name)

    bridge.run_with_hooks(
        toy.prompts.clean_tokens, fwd_hooks=[(name, note(name)) for name in names]
    )
    assert [site.hook for site in sorted(make_site(name, known) for name in names)] == fired


@pytest.mark.parametrize("alias", ALIASES)
def test_both_names_of_a_tensor_are_one_site(toy: Toy, alias: str) -> None:
    known = toy.model.bridge.hook_dict
    site = make_site(f"blocks.1.{alias}", known)
    assert site.hook == site.read_hook == f"blocks.1.{ALIASES[alias]}"
    assert site == make_site(f"blocks.1.{ALIASES[alias]}", known)
    assert not site.is_transcoder
    assert known[f"blocks.1.{alias}"] is known[site.hook]


def test_label(toy: Toy) -> None:
    known = toy.model.bridge.hook_dict
    assert make_site("hook_embed", known).label == "embed"
    assert make_site("blocks.2.hook_resid_post", known).label == "L2 resid_post"
    assert make_site("blocks.0.attn.hook_z", known).label == "L0 z"


def test_unknown_names_list_near_ones(toy: Toy) -> None:
    known = toy.model.bridge.hook_dict
    with pytest.raises(UnknownNameError, match=r"'blocks\.1\.hook_resid_pst'.*resid_post"):
        make_site("blocks.1.hook_resid_pst", known)
    with pytest.raises(UnknownNameError, match=r"'blocks\.7\.hook_resid_post'.*blocks\.2\.hook"):
        make_site("blocks.7.hook_resid_post", known)
    with pytest.raises(UnknownNameError, match=r"'embedding'.*known: blocks\.0"):
        make_site("embedding", known)


@pytest.mark.parametrize(
    "hook",
    ["blocks.1.attn.hook_pattern", "blocks.0.mlp.hook_post", "unembed.hook_out"],
)
def test_other_hook_points_cannot_carry_a_dictionary(toy: Toy, hook: str) -> None:
    assert hook in toy.model.bridge.hook_dict
    with pytest.raises(SiteError, match=f"'{hook}'.*can sit at.*hook_resid_post"):
        make_site(hook, toy.model.bridge.hook_dict)


@pytest.mark.parametrize(
    ("write", "read"),
    [
        ("blocks.1.hook_mlp_out", "blocks.1.hook_mlp_in"),  # two tensors: see splicing.placing
        ("blocks.1.hook_mlp_out", "blocks.0.mlp.hook_in"),  # another block
        ("blocks.1.hook_resid_post", "blocks.1.mlp.hook_in"),
        ("blocks.1.hook_mlp_out", "blocks.1.hook_resid_pre"),
    ],
)
def test_transcoders_that_read_or_write_elsewhere_are_refused(
    toy: Toy, write: str, read: str
) -> None:
    with pytest.raises(SiteError, match=f"reads '{read}' and writes '{write}'"):
        make_site(write, toy.model.bridge.hook_dict, read_hook=read)


@pytest.mark.parametrize("read", ["ln2.hook_normalized", "mlp.hook_in"])
def test_a_transcoder_reads_the_mlp_s_input(toy: Toy, read: str) -> None:
    site = make_site(
        "blocks.1.mlp.hook_out", toy.model.bridge.hook_dict, read_hook=f"blocks.1.{read}"
    )
    assert site.is_transcoder
    assert (site.hook, site.read_hook) == ("blocks.1.hook_mlp_out", f"blocks.1.{read}")


def test_mlps_are_found_with_and_without_a_gate_branch(toy: Toy, llama: Toy) -> None:
    plain = mlp_hooks(toy.model.bridge.hook_dict)
    gated = mlp_hooks(llama.model.bridge.hook_dict)
    assert [mlp.pre for mlp in plain] == [f"blocks.{layer}.mlp.hook_pre" for layer in range(3)]
    assert {mlp.up for mlp in plain} == {None}
    assert [mlp.up for mlp in gated] == [f"blocks.{n}.mlp.hook_pre_linear" for n in range(2)]
