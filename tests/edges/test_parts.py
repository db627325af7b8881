"""Names of components and how many of them each stands for."""

import pytest

from saecircuits.edges.parts import LATER, RESIDUAL, Part, head_parts


@pytest.mark.parametrize(
    ("name", "degree"),
    [
        (RESIDUAL, 0),
        ("L3.H5", 1),
        ("L3.MLP", 1),
        ("L1.skip", 1),
        ("L3.H5>L3.MLP", 2),
        ("L0.H1>L0.MLP>L1.skip", 3),
        (f"L1.H0>{LATER}", None),
    ],
)
def test_degree_counts_what_is_passed(name: str, degree: int | None) -> None:
    assert Part(name).degree == degree


def test_heads_are_named_way_by_way() -> None:
    found = head_parts("L2.H*>L2.MLP", 2, is_held=False)
    assert found == [
        Part("L2.H0>L2.MLP", "value"),
        Part("L2.H1>L2.MLP", "value"),
        Part("L2.H0>L2.MLP", "key"),
        Part("L2.H1>L2.MLP", "key"),
        Part("L2.H0>L2.MLP", "query"),
        Part("L2.H1>L2.MLP", "query"),
    ]


def test_held_patterns_leave_values_alone() -> None:
    assert head_parts("L0.H*", 3, is_held=True) == [
        Part("L0.H0", "value"),
        Part("L0.H1", "value"),
        Part("L0.H2", "value"),
    ]
