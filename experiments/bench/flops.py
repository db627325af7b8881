"""Floating-point operations that a pass cannot do without, term by term; a product of
`[n, k]` with `[k, m]` counts as `2 n k m`. Sums, softmax, norms and gathers are left out.
"""

from experiments.bench.sizes import Size


def edge_terms(size: Size) -> dict[str, int]:
    """All adjacent edges by the factorised engine, full gradient, the forward pass not counted.

    `T` targets and as many sources in the layers below them, `t` tokens, edges `E`, of which
    `E_own` have both ends at one token:

        mlp                 4 T d_model d_mlp           the targets' way back through the MLP
        heads               2 T d_model^2               into the heads, `W_O`
        scores              4 T (t + 1) d_model         `u . v`, queries from keys; BOS too
        sources             6 T d_model^2               sources through `W_V`, `W_K` and `W_Q`
        values and keys     4 E d_model                 rows meet sources inside the heads
        own token           4 E_own d_model             the direct and the query part
    """
    d, targets, edges = size.d_model, size.n_targets, size.n_edges
    own = (size.n_layers - 1) * size.n_tokens * size.active**2
    return {
        "mlp": 4 * targets * d * size.d_mlp,
        "heads": 2 * targets * d * d,
        "scores": 4 * targets * (size.n_tokens + 1) * d,
        "sources": 6 * targets * d * d,
        "values and keys": 4 * edges * d,
        "own token": 4 * own * d,
    }


def node_terms(size: Size) -> dict[str, int]:
    """One forward and one backward pass of the bare model, and its encoders.

    blocks              2 t L (4 d_model^2 + 2 d_model d_mlp)
    attention           4 t^2 L d_model             scores and their use, without causality
    unembedding         2 t d_model d_vocab
    backward            the same again for the blocks and the unembedding, twice for attention
    encoders            2 t L d_model d_sae
    """
    d, tokens = size.d_model, size.n_tokens + 1
    per_layer = 2 * tokens * (4 * d * d + 2 * d * size.d_mlp)
    attention = 4 * tokens**2 * d
    unembedding = 2 * tokens * d * size.d_vocab
    return {
        "blocks": size.n_layers * per_layer,
        "attention": size.n_layers * attention,
        "unembedding": unembedding,
        "backward": size.n_layers * (per_layer + 2 * attention) + unembedding,
        "encoders": 2 * tokens * size.n_layers * d * size.d_sae,
    }
