"""The strongest paths in words, for the card."""

from collections.abc import Mapping, Sequence
from typing import Final

from saecircuits.circuits import Routes
from saecircuits.features.labels import FeatureLabel
from saecircuits.nodes.names import METRIC
from saecircuits.publication.markdown import code, literal, table
from saecircuits.runs.phrases import effect_number
from saecircuits.splicing.sites import make_site

_ARROW: Final = " \u2192 "


def labels_by_node(routes: Routes, labels: Sequence[FeatureLabel]) -> dict[str, str]:
    """The labels of the features on the paths, by node id."""
    texts = {f"{label.site}.f{label.feature}": label.text for label in labels}
    named: dict[str, str] = {}
    for nodes in routes.table["nodes"]:
        for node in nodes:
            feature = node.partition("@")[0]
            if feature in texts:
                named[node] = texts[feature]
    return named


def paths_section(routes: Routes, labels: Sequence[FeatureLabel]) -> str:
    """The paths as a Markdown table, and what they carry of all.

    Args:
        labels: of some or all of the features; the others go by their number.
    """
    named = labels_by_node(routes, labels)
    rows = [
        (_way(nodes, parts, named), effect_number(effect), f"{share:.1%}")
        for effect, share, nodes, parts in routes.table[
            ["effect", "share", "nodes", "parts"]
        ].itertuples(index=False)
    ]
    shown = table(("path", "effect (logits)", "of all paths"), rows, numbers=2)
    carries = (
        "carries most of that step's edge"
        if routes.choices["by"] == "edges"
        else "the step passes through"
    )
    return (
        f"{shown}\n\nA path's effect is the product of the direct derivatives along it at the "
        f"clean prompt ({routes.settings['linearization']} linearization) and of the change it "
        "begins with, token by token and prompt by prompt, and then the mean. Between two arrows "
        f"stands the component that {carries}. {literal(routes.account())}"
    )


def _way(nodes: Sequence[str], parts: Sequence[str], labels: Mapping[str, str]) -> str:
    text = _name(nodes[0], labels)
    for node, part in zip(nodes[1:], parts, strict=True):
        text += f"{_ARROW}{code(part)}{_ARROW}" if part else _ARROW
        text += _name(node, labels)
    return text


def _name(node: str, labels: Mapping[str, str]) -> str:
    """Such as `L2 resid_post f217 at name girl, woman`."""
    if node == METRIC:
        return METRIC
    what, _, unit = node.partition("@")
    hook, _, member = what.rpartition(".")
    place = f"{make_site(hook, (hook,)).label} " if hook else ""
    return literal(f"{place}{member} at {unit} {labels.get(node, '')}".strip())
