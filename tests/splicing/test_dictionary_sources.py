"""Dictionaries of releases, folders and repositories: what is listed, taken, and recorded."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sae_lens import SAE
from safetensors.torch import save_file

from saecircuits.errors import DictionaryError, InputError, ModelError, UnknownNameError
from saecircuits.splicing.dictionary_sources import asked_for, brought, list_dictionaries, parsed
from saecircuits.splicing.loading import load_model
from saecircuits.splicing.releases import registry
from tests.hub_cache import COMMIT, cached, hub_cache, small_sae, write_gpt2

STREAM = "gpt2-small-res-jb"
SPLIT = "gpt2-small-res-jb-feature-splitting"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """GPT-2 and two of its releases: one SAE to a hook, and eight widths at one."""
    with hub_cache(tmp_path_factory.mktemp("hub")) as cache:
        for name in ("gpt2", "openai-community/gpt2"):
            cached(cache, name, write_gpt2)

        def write_stream(folder: Path) -> None:
            for seed, (name, path) in enumerate(registry()[STREAM].saes_map.items()):
                small_sae(name, seed=seed).save_model(folder / path)

        def write_split(folder: Path) -> None:
            for seed, (name, path) in enumerate(registry()[SPLIT].saes_map.items()):
                hook, _, width = name.rpartition("_")
                small_sae(hook, seed=seed, d_sae=int(width) // 64).save_model(folder / path)

        def write_mine(folder: Path) -> None:
            for layer in (1, 4):
                hook = f"blocks.{layer}.hook_mlp_out"
                small_sae(hook, seed=layer, model="gpt2").save_model(folder / f"mlp/{layer}")

        cached(cache, registry()[STREAM].repo_id, write_stream)
        cached(cache, registry()[SPLIT].repo_id, write_split)
        cached(cache, "somebody/my-saes", write_mine)
        yield cache


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the SAEs that sae_lens was asked to load."""
    ids: list[str] = []
    load = SAE.from_pretrained.__func__  # pyright: ignore[reportFunctionMemberAccess]

    def noted(cls: type, release: str, sae_id: str, **options: object) -> object:
        ids.append(sae_id)
        return load(cls, release, sae_id, **options)

    monkeypatch.setattr(SAE, "from_pretrained", classmethod(noted))
    return ids


def test_of_a_release_a_small_default_is_loaded(
    cache: Path, loaded: list[str], recwarn: pytest.WarningsRecorder
) -> None:
    model = load_model("gpt2", dictionaries=STREAM)
    # sae_lens advises another class of models, where the registry says how weights were processed.
    assert not [one for one in recwarn if "model_from_pretrained_kwargs" in str(one.message)]
    # Twelve layers before blocks and one behind the last: a quarter, a half and three quarters.
    assert loaded == [f"blocks.{layer}.hook_resid_pre" for layer in (3, 6, 9)]
    assert model.hooks == tuple(loaded)


def test_ids_and_patterns(cache: Path, loaded: list[str]) -> None:
    model = load_model("gpt2", dictionaries=f"{STREAM}:blocks.8.*,blocks.11.hook_resid_post")
    assert loaded == ["blocks.8.hook_resid_pre", "blocks.11.hook_resid_post"]
    assert model.describe()["dictionaries_from"] == {
        hook: f"{STREAM}:{hook}" for hook in model.hooks
    }
    assert model.describe()["revisions"] == {registry()[STREAM].repo_id: COMMIT}


def test_all_of_a_release(cache: Path) -> None:
    assert len(asked_for(f"{STREAM}:all")) == 13
    assert len(asked_for(f"{STREAM}:*_pre")) == 12


@pytest.mark.parametrize(
    ("words", "sites", "message"),
    [
        (STREAM, "mlp_out", "unknown kind of site in 'gpt2-small-res-jb' 'mlp_out'"),
        (STREAM, ["blocks.8.hook_mlp_out"], "unknown site with a dictionary"),
        (f"{STREAM}:blocks.8.hook_resid_post", None, "or 'blocks.8.hook_resid_pre'"),
        (f"{STREAM}:blocks.99.*", None, "unknown dictionary of 'gpt2-small-res-jb'"),
        (f"{SPLIT}:*", None, "8 dictionaries were asked for at blocks.8.hook_resid_pre"),
        (f"{SPLIT}:*_768,*_1536", None, "2 dictionaries were asked for"),
        ([STREAM + ":blocks.8.*", SPLIT + ":*_768"], None, "2 dictionaries were asked for"),
        ("gpt2-small-res-jbb", None, "did you mean 'gpt2-small-res-jb'"),
        (f"{STREAM}:", None, "names no dictionaries"),
        ([], None, "no dictionaries were named"),
        ("no/such", None, "not cached and cannot be fetched"),
    ],
)
def test_what_matches_nothing_or_too_much_is_refused_before_anything_is_loaded(
    cache: Path,
    loaded: list[str],
    words: str | list[str],
    sites: str | list[str] | None,
    message: str,
) -> None:
    with pytest.raises(InputError, match=message.replace("*", r"\*")):
        load_model("gpt2", dictionaries=words, sites=sites)
    assert loaded == []


def test_sites_of_none(cache: Path) -> None:
    with pytest.raises(InputError, match="sites is empty"):
        load_model("gpt2", dictionaries=STREAM, sites=[])


def test_of_several_widths_the_named_one_is_taken(cache: Path, loaded: list[str]) -> None:
    model = load_model("gpt2", dictionaries=f"{SPLIT}:blocks.8.hook_resid_pre_768")
    assert loaded == ["blocks.8.hook_resid_pre_768"]
    assert model.splices[0].dictionary.d_sae == 12
    # Nothing is named: the narrowest is the default.
    assert [offer.id for offer in asked_for(SPLIT)] == ["blocks.8.hook_resid_pre_768"]


def test_a_repository_of_the_hub(cache: Path) -> None:
    model = load_model("gpt2", dictionaries=["somebody/my-saes:mlp/4", f"{STREAM}:*.11.*pre"])
    assert model.hooks == ("blocks.4.hook_mlp_out", "blocks.11.hook_resid_pre")
    assert model.describe()["revisions"]["somebody/my-saes"] == COMMIT


def test_of_a_repository_nothing_is_read_before_it_is_asked_for(cache: Path) -> None:
    offers = list_dictionaries("somebody/my-saes")
    assert [(offer.id, offer.layer, offer.kind) for offer in offers] == [
        ("mlp/1", None, "mlp_out"),
        ("mlp/4", None, "mlp_out"),
    ]
    more = cached(cache, "somebody/more", lambda folder: None)
    for layer in range(4):
        (more / f"mlp/{layer}").mkdir(parents=True)
        (more / f"mlp/{layer}" / "sae_weights.safetensors").touch()
    with pytest.raises(InputError, match=r"name some: somebody/more:mlp/0,mlp/1"):
        asked_for("somebody/more")


def test_a_network_that_is_out_of_reach_is_one_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ConnectError(Exception):
        """What the hub's client raises without a network: of the library it speaks HTTP with."""

    def out_of_reach(self: object, repository: str) -> list[str]:
        raise ConnectError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", out_of_reach)
    assert [offer.id for offer in list_dictionaries("somebody/my-saes")] == ["mlp/1", "mlp/4"]
    with pytest.raises(ModelError, match="'nobody/nothing' is not cached and cannot be fetched"):
        list_dictionaries("nobody/nothing")


def test_another_model_s_dictionaries_are_refused_unless_insisted_on(
    cache: Path, tmp_path: Path
) -> None:
    hook = "blocks.1.hook_resid_post"
    small_sae(hook, seed=1, model="pythia-160m").save_model(tmp_path / "saes")
    with pytest.raises(DictionaryError, match="trained on 'pythia-160m', but the model is 'gpt2'"):
        load_model("gpt2", dictionaries=tmp_path / "saes")
    model = load_model("gpt2", dictionaries=tmp_path / "saes", insist=True)
    (said,) = model.describe()["insisted"]
    assert "pythia-160m" in said


def test_gemma_scope_2_is_read_from_a_cache_without_a_network(cache: Path) -> None:
    release = "gemma-scope-2-270m-pt-transcoders-all"
    entry = registry()[release]
    sae_id = "layer_1_width_16k_l0_small_affine"
    shapes = {"w_enc": (16, 24), "w_dec": (24, 16), "b_enc": (24,), "b_dec": (16,)}
    shapes |= {"threshold": (24,), "affine_skip_connection": (16, 16)}

    def write(folder: Path) -> None:
        place = folder / entry.saes_map[sae_id]
        place.mkdir(parents=True)
        weights = {name: torch.rand(shape) for name, shape in shapes.items()}
        save_file(weights, place / "params.safetensors")
        settings = {
            "architecture": "jump_relu",
            "model_name": "gemma-v3-270m-pt",
            "affine_connection": True,
            "hf_hook_point_in": "model.layers.1.pre_feedforward_layernorm.output",
            "hf_hook_point_out": "model.layers.1.post_feedforward_layernorm.output",
        }  # fmt: skip
        (place / "config.json").write_text(json.dumps(settings), encoding="utf-8")

    cached(cache, entry.repo_id, write)
    (offer,) = asked_for(f"{release}:{sae_id}")
    found = brought(offer)
    assert found.hooks == ("blocks.1.hook_mlp_out",)
    assert found.dictionary.reads == "blocks.1.mlp.hook_in"
    assert found.dictionary.W_skip is not None
    assert (offer.kind, offer.layer, offer.width) == ("transcoder", 1, 16384)


def test_a_layer_of_a_cross_layer_transcoder_is_no_dictionary() -> None:
    with pytest.raises(InputError, match=r"--dictionaries mntss/clt-gemma-2-2b-2.5M"):
        asked_for("mntss-gemma-2-2b-2.5m-clt-as-per-layer:layer_3")


def test_a_cross_layer_transcoder_is_loaded_whole_and_alone(cache: Path, tmp_path: Path) -> None:
    write_gpt2(tmp_path / "mine", n_layer=2)

    def write(folder: Path) -> None:
        text = "model_kind: cross_layer_transcoder\nfeature_input_hook: mlp.hook_in\n"
        (folder / "config.yaml").write_text(text, encoding="utf-8")
        for layer in range(2):
            encoder = {
                f"W_enc_{layer}": torch.randn(23, 16), f"b_enc_{layer}": torch.zeros(23),
                f"b_dec_{layer}": torch.zeros(16),
            }  # fmt: skip
            save_file(encoder, folder / f"W_enc_{layer}.safetensors")
            decoder = {f"W_dec_{layer}": torch.randn(23, 2 - layer, 16)}
            save_file(decoder, folder / f"W_dec_{layer}.safetensors")

    folder = cached(cache, "somebody/clt", write)
    for source in ("somebody/clt", str(folder)):
        model = load_model(tmp_path / "mine", dictionaries=source)
        assert model.hooks == ("blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out")
        words = set(model.describe()["dictionaries_from"].values())
        assert len(words) == 1
    with pytest.raises(InputError, match="which takes the place of every MLP and is loaded alone"):
        load_model("gpt2", dictionaries=["somebody/clt", f"{STREAM}:blocks.8.*"])


def test_a_folder_is_walked(cache: Path, tmp_path: Path) -> None:
    write_gpt2(tmp_path / "mine", n_layer=2)
    for layer in range(2):
        hook = f"blocks.{layer}.hook_resid_post"
        small_sae(hook, seed=layer).save_model(tmp_path / "saes" / f"layer {layer}")
    model = load_model(tmp_path / "mine", dictionaries=tmp_path / "saes")
    assert model.name == "mine"
    assert model.hooks == ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
    one = load_model(tmp_path / "mine", dictionaries=f"{tmp_path / 'saes'}:layer 1")
    assert one.hooks == ("blocks.1.hook_resid_post",)
    # Of an absolute path its last part alone is published.
    assert one.describe()["dictionaries_from"] == {"blocks.1.hook_resid_post": "saes:layer 1"}


def _arrays(folder: Path, *, d_in: int = 12, d_sae: int = 20) -> None:
    """Gemma Scope's arrays, in a folder that does not say what they are of."""
    torch.manual_seed(d_in)
    folder.mkdir(parents=True)
    shapes = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_enc": (d_sae,), "b_dec": (d_in,)}
    arrays: dict[str, Any] = {name: torch.randn(shape).numpy() for name, shape in shapes.items()}
    np.savez(folder / "params.npz", **arrays, threshold=torch.rand(d_sae).numpy())


def test_what_a_folder_does_not_say_the_user_says(cache: Path, tmp_path: Path) -> None:
    write_gpt2(tmp_path / "mine", n_layer=2)
    folder, hook = tmp_path / "arrays", "blocks.1.hook_resid_post"
    d_in = small_sae(hook, seed=0).cfg.d_in
    _arrays(folder, d_in=d_in)
    with pytest.raises(InputError, match=r"write it behind the folder: arrays@blocks.LAYER.hook"):
        load_model(tmp_path / "mine", dictionaries=folder)
    model = load_model(tmp_path / "mine", dictionaries=f"{folder}@{hook}")
    assert model.hooks == (hook,)
    known = model.describe()
    assert known["stated_by_user"] == {hook: f"reads {hook}, writes {hook}"}
    assert known["dictionaries_from"] == {hook: f"arrays@{hook}:."}
    # What the record says loads it again.
    again = load_model(tmp_path / "mine", dictionaries=f"{folder}@{hook}:.")
    assert again.describe() == known
    reads, writes = "blocks.0.ln2.hook_normalized", "blocks.0.hook_mlp_out"
    crossing = load_model(tmp_path / "mine", dictionaries=f"{folder}@{reads},{writes}")
    assert (crossing.splices[0].site.read_hook, crossing.hooks) == (reads, (writes,))
    # What its files say is believed.
    small_sae(hook, seed=1).save_model(tmp_path / "said")
    with pytest.raises(DictionaryError, match=f"there are: . is of {hook}; name the folder of"):
        load_model(tmp_path / "mine", dictionaries=f"{tmp_path / 'said'}@{hook}")
    with pytest.raises(InputError, match=r"cannot splice at 'blocks\.1\.hook_q'"):
        load_model(tmp_path / "mine", dictionaries=f"{folder}@blocks.1.hook_q")


def test_a_model_without_dictionaries_says_how_to_name_them(tmp_path: Path) -> None:
    write_gpt2(tmp_path / "mine", n_layer=1)
    with pytest.raises(ModelError, match="is a model without dictionaries; name them too"):
        load_model(tmp_path / "mine")
    with pytest.raises(ModelError, match=r"releases for it: gpt2-small-.* and \d+ more"):
        load_model("gpt2")


def test_every_release_can_be_listed_and_has_a_small_default() -> None:
    for release, entry in registry().items():
        offers = list_dictionaries(release)
        assert [offer.id for offer in offers] == list(entry.saes_map)
        assert all(offer.layer is not None or offer.kind == "embed" for offer in offers), release
        assert all(offer.kind is not None for offer in offers), release
        if all(offer.refused is not None for offer in offers):
            continue
        taken = asked_for(release)
        assert 1 <= len(taken) <= 3, release
        assert len({offer.place for offer in taken}) == len(taken), release


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        # hook or place, width, L0: read off the registry by hand
        ("gemma-scope-2b-pt-res:layer_20/width_16k/average_l0_71", ("resid_post", 20, 16384, 71)),
        ("gemma-scope-2b-pt-att:layer_0/width_65k/average_l0_16", ("z", 0, 65536, 16)),
        ("mwhanna-qwen3-4b-transcoders:layer_9", ("transcoder", 9, None, None)),
        ("qwen-scope-3.5-27b-w80k-l50:layer16", ("resid_post", 16, 81920, 50)),
        ("llama_scope_lxm_8x:l16m_8x", ("mlp_out", 16, None, 50)),
    ],
)
def test_what_a_listing_says(name: str, figures: tuple[object, ...]) -> None:
    (offer,) = asked_for(name)
    assert (offer.kind, offer.layer, offer.width, offer.l0) == figures


def test_words(tmp_path: Path) -> None:
    assert parsed("release:a,b*") == ("release", ("a", "b*"))
    assert parsed("release") == ("release", ())
    folder = tmp_path / "with:colon"
    folder.mkdir()
    assert parsed(folder) == (str(folder), ())
    assert parsed(f"{folder}:a") == (str(folder), ("a",))
    assert parsed(f"{folder}@blocks.1.hook_z") == (f"{folder}@blocks.1.hook_z", ())
    assert parsed(f"{folder}@blocks.1.hook_z:.") == (f"{folder}@blocks.1.hook_z", (".",))
    with pytest.raises(UnknownNameError, match="release, folder or repository"):
        list_dictionaries("nothing of the kind")
