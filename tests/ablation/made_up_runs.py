"""Findings of runs that nobody made, with planted differences."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from itkm.ablation.findings import Finding
from itkm.ablation.variants import Run

IDENTITIES, QUERIES = 20, 3  # of each scenario, and of each identity
STAGES = ("zero_shot", "zero_shot_centred", "homogeneous", "heterogeneous")
GROUPS = ("day", "night")


def make_finding(variant: str, seed: int, *, gain: float, scenarios: Iterable[str] = ("vi", "cc")) -> Finding:
    """A run whose final precision is `gain` above the noise that it shares with all runs of the same seed."""
    names = list(scenarios)
    tables = [make_queries(name, seed, gain) for name in names]
    metrics = {
        "scenarios": {
            name: {
                **{stage: scores_of(table, stage) for stage in STAGES},
                "health": {"heterogeneous": {group: health_of(gain, seed) for group in GROUPS}},
                "clusters": {group: {"clusters": 9, "outliers": 0.1, "purity": 0.8 + gain} for group in GROUPS},
                "matches": {
                    "chm": {"pairs": 5, "precision": 0.5, "recall": 0.25},
                    "ihm": {"pairs": 0, "precision": None, "recall": None},
                },
            }
            for name, table in zip(names, tables, strict=True)
        },
        "split": "validation",
        "rendered": True,
    }
    scenario = names[0] if variant == "single-scenario" else ""
    return Finding(Run(variant, seed, scenario, {}), metrics, pd.concat(tables), make_epochs(names, gain), 3, 120.0)


def make_queries(scenario: str, seed: int, gain: float) -> pd.DataFrame:
    shared = np.random.default_rng((len(scenario), seed))
    hard = shared.uniform(0.2, 0.6, IDENTITIES).repeat(QUERIES)
    table = pd.DataFrame({"path": [f"{scenario}/{number}" for number in range(len(hard))], "scenario": scenario})
    table["person"] = np.arange(IDENTITIES).repeat(QUERIES)
    noise = np.random.default_rng((seed, int(1e6 * abs(gain)))).normal(0, 0.02, len(hard))
    table["zero_shot"] = table["zero_shot_centred"] = table["homogeneous"] = hard
    table["heterogeneous"] = hard + gain + noise
    return table


def scores_of(table: pd.DataFrame, stage: str) -> dict[str, float]:
    mean = float(table[stage].mean())
    return {"mAP": mean, "rank1": mean / 2, "rank5": mean, "mINP": mean / 3, "queries": len(table)}


def health_of(gain: float, seed: int) -> dict[str, float | None]:
    """Stability rises with the gain, silhouette falls, agreement was never measured, outliers are always the same."""
    noise = 1e-4 * seed
    return {"stability": gain + noise, "silhouette": -gain - noise, "cycle_consistency": None, "outliers": 0.1}


def make_epochs(scenarios: list[str], gain: float) -> pd.DataFrame:
    rows = [
        {
            **{"scenario": scenario, "stage": stage, "epoch": epoch, "group": group},
            **{"clusters": 9, "outliers": 0.1, "purity": 0.6 + 0.1 * epoch + gain, "ari": 0.5},
            "match_precision": 0.1 * epoch if stage == "heterogeneous" else np.nan,
            "stability": 0.9,
        }
        for scenario in scenarios
        for stage in ("homogeneous", "heterogeneous")
        for epoch in (1, 2, 3)
        for group in GROUPS
    ]
    return pd.DataFrame(rows)
