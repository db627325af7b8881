"""Are the classical terms there, and is the induction circuit K-composition? Tables and plots.

    python -m experiments.induction.run --out results

The model `induction` speaks a made-up language all of whose rules are known: its bigrams are held
against the direct path, its skip-trigrams against the heads of the first layer. Its induction
heads' scores are taken apart into components and features, and paths into them are patched.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import saecircuits as sc
from experiments.charts import bars
from experiments.tables import write_table
from saecircuits import heads
from saecircuits.splicing.loading import model_folder

INDUCTION = 0.5
"""What mean attention makes an induction head."""
STORY, STORY_HEAD = "Tom and Lily went to the park. Tom gave a ball to", (3, 0)


def bigrams(model: sc.SplicedModel, rules: dict[str, Any]) -> pd.DataFrame:
    """The direct path against the bigram table that the text was made with."""
    table, ids = heads.direct_path(model), _ids(rules)
    found, first, logits = [], [], []
    for word, successors in rules["bigrams"].items():
        row, known = table[ids[word]], [ids[other] for other in successors]
        found.append(len(set(row.topk(len(known)).indices.tolist()) & set(known)) / len(known))
        first.append(int(row.argmax()) == known[0])
        logits.append(row[known].tolist())
    chances = np.log(rules["successor_probabilities"])
    means = np.mean(logits, axis=0)
    return pd.DataFrame(
        [
            {
                "words": len(found),
                "true successors among the top 4": float(np.mean(found)),
                "likeliest successor first": float(np.mean(first)),
                "logits by place": " ".join(f"{mean:.1f}" for mean in means),
                "correlation with log-probability": float(
                    np.corrcoef(np.tile(chances, len(logits)), np.concatenate(logits))[0, 1]
                ),
            }
        ]
    )


def skip_trigrams(model: sc.SplicedModel, rules: dict[str, Any]) -> pd.DataFrame:
    """For every head of the first layer: does it carry "topic ... trigger -> outcome"?"""
    ids, known = _ids(rules), rules["skip_trigrams"]
    topics = sorted({ids[rule["topic"]] for rule in known})
    triggers = sorted({ids[rule["trigger"]] for rule in known})
    rows = []
    for head in range(int(model.bridge.cfg.n_heads)):
        table = heads.skip_trigrams(model, 0, head)
        hits = []
        for topic in topics:
            own = {ids[rule["outcome"]] for rule in known if ids[rule["topic"]] == topic}
            hits.append(
                len(own & set(table.writes[topic].topk(len(own)).indices.tolist())) / len(own)
            )
        attends = table.attends[triggers]
        rows.append(
            {
                "head": f"L0.H{head}",
                "score of topics for triggers": float(attends[:, topics].mean()),
                "score of other words": float(attends.mean()),
                "outcomes among what a topic writes most": float(np.mean(hits)),
            }
        )
    return pd.DataFrame(rows)


def sides(
    model: sc.SplicedModel, tokens: torch.Tensor, readers: list[int], *, count: int
) -> pd.DataFrame:
    """Whose writing the induction heads' scores are made of, on the key and on the query side."""
    length = (tokens.shape[1] - 1) // 2
    rows = []
    for head in readers:
        for number, row in enumerate(tokens[:count].tolist()):
            query = length + 1 + 3 + number % (length - 4)
            found = heads.attention(
                model, row, 1, head, query=query, key=query - length + 1, by="components",
                against="uniform",
            )  # fmt: skip
            whole = found.pairs["contrast"].sum()
            for side, terms in (("key", found.key_terms), ("query", found.query_terms)):
                for term, contrast in zip(terms.itertuples(), terms["contrast"], strict=True):
                    rows.append(
                        {
                            "head": f"L1.H{head}",
                            "side": side,
                            "term": getattr(term, f"{side}_term"),
                            "share": contrast / whole,
                        }
                    )
    table = pd.DataFrame(rows).groupby(["head", "side", "term"], sort=False)["share"].sum() / count
    return table.reset_index().sort_values(
        ["head", "side", "share"], ascending=[True, True, False], kind="stable"
    )


def paths(
    model: sc.SplicedModel, tokens: torch.Tensor, writers: list[int], readers: list[int]
) -> pd.DataFrame:
    """What the paths from heads of the first layer to the induction heads are worth."""
    length = (tokens.shape[1] - 1) // 2
    tables = []
    for reader in readers:
        for writer in writers:
            table = heads.path_effects(
                model, tokens, (0, writer), (1, reader), offset=length - 1, start=length + 1
            )
            table.insert(0, "reader", f"L1.H{reader}")
            table.insert(0, "writer", f"L0.H{writer}")
            tables.append(table[table["path"] != "none"])
    return pd.concat(tables, ignore_index=True)


def through_features(
    model: sc.SplicedModel, tokens: torch.Tensor, reader: int, *, count: int
) -> pd.DataFrame:
    """The same score by features: how much of it pairs of features carry, and how few do."""
    length = (tokens.shape[1] - 1) // 2
    rows = []
    for number, row in enumerate(tokens[:count].tolist()):
        query = length + 1 + 3 + number % (length - 4)
        found = heads.attention(
            model, row, 1, reader, query=query, key=query - length + 1, against="uniform"
        )
        pairs = found.pairs
        of_features = pairs["query_term"].str.startswith("feature") & pairs[
            "key_term"
        ].str.startswith("feature")
        ordered = pairs.loc[of_features, "share"].sort_values(ascending=False)
        rows.append(
            {
                "pairs of two features": float(ordered.sum()),
                "an error on a side": float(
                    pairs.loc[
                        pairs[["query_term", "key_term"]].eq("error").any(axis=1), "share"
                    ].sum()
                ),
                "10 strongest pairs": float(ordered.head(10).sum()),
                "50 strongest pairs": float(ordered.head(50).sum()),
            }
        )
    table = pd.DataFrame(rows).mean().to_frame().T
    table.insert(0, "head", f"L1.H{reader}")
    return table


def classical_terms(model: sc.SplicedModel, tokens: torch.Tensor, *, count: int) -> pd.DataFrame:
    """By degree of the path expansion: the logit of the word that comes next, said a second time.

    The last token of each row is the answer; `share` is of the sum of absolute values.
    """
    gained = []
    for row in tokens[:count].tolist():
        terms = sc.expand(model, row[:-1], naive_limit=0).logits().terms
        gained.append(terms[:, row[-1]] - terms.mean(1))
    logit = torch.stack(gained)
    shares = (logit.abs() / logit.abs().sum(1, keepdim=True)).mean(0)
    names = ["direct path", "heads", "virtual heads"]
    return pd.DataFrame(
        {
            "degree": range(len(names)),
            "terms": names,
            "logit": logit.mean(0)[: len(names)].tolist(),
            "share": shares[: len(names)].tolist(),
        }
    )


def virtual(model: sc.SplicedModel, row: list[int]) -> pd.DataFrame:
    """How large every virtual head is against its second head's whole output."""
    n_heads = int(model.bridge.cfg.n_heads)
    rows = []
    for second in range(n_heads):
        sizes = {
            f"after L0.H{first}": heads.virtual_head(model, row, (0, first), (1, second)).size
            for first in range(n_heads)
        }
        rows.append({"head": f"L1.H{second}", **sizes})
    return pd.DataFrame(rows)


def in_stories() -> dict[str, pd.DataFrame]:
    """Which components and features make a head of the model of stories look at a person."""
    model, layer, head = sc.load_model("stories"), *STORY_HEAD
    found = heads.attention(model, STORY, layer, head, against="uniform")
    parts = heads.attention(model, STORY, layer, head, by="components", against="uniform")
    return {
        "stories_keys": found.keys.sort_values("pattern", ascending=False).head(6),
        "stories_pairs": found.pairs.head(10),
        "stories_key_features": found.key_terms.head(6),
        "stories_query_features": found.query_terms.head(6),
        "stories_key_components": parts.key_terms.head(6),
        "stories_query_components": parts.query_terms.head(6),
    }


def plots(sides: pd.DataFrame, lost: pd.DataFrame) -> dict[str, str]:
    """By name: who makes the key of each induction head, and what it loses with every path."""
    shares = sides.query("side == 'key'").pivot_table(index="head", columns="term", values="share")
    shares = shares.filter(regex=r"L0\.H|tokens")
    single = lost[lost["path"] != "qkv"]
    by_path = single.pivot_table(
        index=["reader", "writer"], columns="path", values="attention_lost"
    )
    return {
        "induction-scores": bars(
            list(shares.index),
            {str(term): list(shares[term]) for term in shares},
            title="Who makes the key of an induction head",
            note="Share of the score at the induction key, less its mean over keys, by component",
            below="induction head",
        ),
        "induction-paths": bars(
            [f"{writer}\nto {reader}" for reader, writer in by_path.index],
            {f"by {path}": list(by_path[path]) for path in "qkv"},
            title="Induction attention lost when one path is taken away",
            note="Mean attention to the induction key; the writer's mean over prompts in its place",
        ),
    }


def _named(known: pd.DataFrame) -> pd.DataFrame:
    """The table with heads by name."""
    names = [f"L{layer}.H{head}" for layer, head in zip(known["layer"], known["head"], strict=True)]
    return known.drop(columns="layer").assign(head=names)[["head", *known.columns[2:]]]


def _ids(rules: dict[str, Any]) -> dict[str, int]:
    return {word: token for token, word in enumerate(rules["words"])}


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes every table as CSV and Markdown, and two plots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    model = sc.load_model("induction")
    rules = json.loads((model_folder("induction") / "language.json").read_text(encoding="utf-8"))
    tokens = heads.repeated_tokens(model, prompts=options.prompts)
    known = heads.behaviours(model, prompts=options.prompts)
    readers = known.query("layer == 1 and induction > @INDUCTION")["head"].tolist()
    writers = list(range(int(model.bridge.cfg.n_heads)))
    count = min(16, options.prompts)
    print(known.attrs)
    found = {
        "behaviours": _named(known),
        "bigrams": bigrams(model, rules),
        "skip_trigrams": skip_trigrams(model, rules),
        "composition": sc.composition(model),
        "composition_in_use": sc.composition(model, tokens[0].tolist()),
        "sides": sides(model, tokens, readers, count=count),
        "paths": paths(model, tokens, writers, readers),
        "features": pd.concat(
            [through_features(model, tokens, reader, count=count) for reader in readers]
        ),
        "classical_terms": classical_terms(model, tokens, count=count),
        "virtual_heads": virtual(model, tokens[0].tolist()),
        **in_stories(),
    }
    for name, table in found.items():
        write_table(table, options.out, name=name)
    for name, drawn in plots(found["sides"], found["paths"]).items():
        (options.out / f"{name}.svg").write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
