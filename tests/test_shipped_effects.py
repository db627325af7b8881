"""The shipped dictionaries that effects pass through, beside those that were not trained for it."""

import pytest

import saecircuits as sc
from saecircuits.edges.graph_scores import SCORES


@pytest.mark.slow
@pytest.mark.parametrize("name", ["possessive", "induction"])
def test_features_alone_do_what_they_could_not(name: str) -> None:
    reached, replaced = {}, {}
    for shipped in ("stories", "stories-effects"):
        model = sc.load_model(shipped)
        task = sc.load_task(name, model, limit=16)
        found = sc.baselines(model, task, kinds=["features"], sizes=[500])
        reached[shipped] = float(found.curve["faithfulness"].max())
        scores = sc.attribute(model, task.train, max_nodes=100).summary[SCORES]
        replaced[shipped] = scores["replacement"]
    assert reached["stories"] < 0.8 <= reached["stories-effects"]
    assert replaced["stories-effects"] > replaced["stories"] + 0.05


def test_it_is_the_same_language_model() -> None:
    digests = [
        sc.load_model(name).describe()["model_digest"] for name in ("stories", "stories-effects")
    ]
    assert digests[0] == digests[1]
