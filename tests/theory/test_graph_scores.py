"""Replacement and completeness score: by inverting, and as circuit-tracer 0.5.0 computes them."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy import sparse

from saecircuits.errors import InputError
from saecircuits.theory.graph_scores import UnsignedScores, unsigned_scores

MADE = Path(__file__).resolve().parents[1] / "edges" / "circuit_tracer"
N_TOKEN, N_ERROR, N_NODE = 3, 5, 23


def _random(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Effects of both signs among tokens, errors, features and two logits, in forward order."""
    draw = np.random.default_rng(seed)
    A = np.tril(draw.normal(size=(N_NODE, N_NODE)), -1) * (draw.random((N_NODE, N_NODE)) < 0.5)
    number = np.arange(N_NODE)
    is_token, is_error = number < N_TOKEN, (number >= N_TOKEN) & (number % 4 == 0)
    assert is_error.sum() == N_ERROR
    A[is_token] = 0
    A[-1, -2] = 0
    A[7] = 0  # a feature without inputs
    readout = np.where(number < N_NODE - 2, 0, [0.25, 0.625][seed % 2])
    return A, is_token, is_error, readout


def _found(
    A: np.ndarray, is_token: np.ndarray, is_error: np.ndarray, readout: np.ndarray
) -> UnsignedScores:
    matrix = sparse.csr_matrix(A)
    return unsigned_scores(matrix, is_token=is_token, is_error=is_error, readout=readout)


@pytest.mark.parametrize("seed", range(6))
def test_powers_of_the_matrix_add_up_to_its_inverse(seed: int) -> None:
    A, is_token, is_error, readout = _random(seed)
    B = np.abs(A)
    B[is_error] = 0  # what an error reads is no part of it
    B /= np.where(B.sum(1) > 0, B.sum(1), 1)[:, None]
    whole = readout @ np.linalg.inv(np.eye(N_NODE) - B)
    tokens, errors = whole[is_token].sum(), whole[is_error].sum()
    fractions = 1 - B[:, is_error].sum(1)
    found = _found(A, is_token, is_error, readout)
    assert found.replacement == pytest.approx(tokens / (tokens + errors), rel=1e-12)
    assert found.completeness == pytest.approx(whole @ fractions / whole.sum(), rel=1e-12)
    assert 0.05 < found.replacement < 0.95 and tokens + errors < 0.99 * readout.sum()


def test_order_sign_and_scale_are_nothing_to_them() -> None:
    order = np.random.default_rng(0).permutation(N_NODE)
    A, is_token, is_error, readout = _random(1)
    again = _found(-7 * A[order][:, order], is_token[order], is_error[order], 3 * readout[order])
    np.testing.assert_allclose(again, _found(A, is_token, is_error, readout), rtol=1e-12)


def test_at_their_ends() -> None:
    # Token, error, feature, metric: first everything through an error, then nothing.
    is_token, is_error = np.eye(4)[0] == 1, np.eye(4)[1] == 1
    A = np.zeros((4, 4))
    A[3, 1] = -2.0
    assert _found(A, is_token, is_error, np.eye(4)[3]) == (0.0, 0.5)
    A[3] = [0, 0, 5.0, 0]
    A[2, 0] = -0.1
    assert _found(A, is_token, is_error, np.eye(4)[3]) == (1.0, 1.0)
    A[2, 0] = 0
    assert np.isnan(_found(A, is_token, is_error, np.eye(4)[3])).all()


def test_a_circle_is_refused() -> None:
    A = np.zeros((4, 4))
    A[3, 2] = A[2, 1] = A[1, 2] = 1.0
    none = np.zeros(4, dtype=bool)
    with pytest.raises(InputError, match="go round in a circle"):
        _found(A, none, none, np.eye(4)[3])


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [
        ("gpt2", (0.5, 0.5), (0.5717755981382091, 0.8422655443703776)),
        ("gpt2", (0.75, 0.25), (0.5637584730651488, 0.8403879835224417)),
        ("llama", (0.5, 0.5), (0.40837311192864373, 0.7768227599321053)),
        ("llama", (0.75, 0.25), (0.38730193654934375, 0.7659856911999794)),
    ],
)
def test_they_are_circuit_tracer_s(
    name: str, weights: tuple[float, float], expected: tuple[float, float]
) -> None:
    # Printed by `circuit_tracer/scores.py`, in float64.
    graph = load_file(MADE / name / "graph.safetensors")
    n_feature, n_token, n_layer = len(graph["active_features"]), len(graph["tokens"]), 3
    n_node = graph["adjacency"].shape[1]
    A, number = np.zeros((n_node, n_node)), np.arange(n_node)
    A[:n_feature], A[-2:] = graph["adjacency"][:n_feature], graph["adjacency"][-2:]
    tokens = n_feature + n_layer * n_token
    found = _found(
        A,
        (number >= tokens) & (number < n_node - 2),
        (number >= n_feature) & (number < tokens),
        np.concatenate([np.zeros(n_node - 2), weights]),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)
