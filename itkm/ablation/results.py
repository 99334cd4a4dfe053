"""From findings to tables: scores, gains, differences to the full method, and whether health tells the score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from itkm.ablation.bootstrap import PairedSums, interval, pair_queries, resampled_differences
from itkm.ablation.findings import Failure, Finding
from itkm.ablation.variants import FULL, SINGLE, VARIANTS
from itkm.report.table import AVERAGE, MODELS

SCORES = ("mAP", "rank1", "rank5", "mINP")
COMPARED = ("homogeneous", "heterogeneous")
START = "zero_shot"
HEALTH = ("outliers", "stability", "silhouette", "cycle_consistency", "agreement")
LEAST_RUNS = 5
FINAL = "heterogeneous"

Row = dict[str, Any]
Findings = dict[tuple[int, str], Finding]


def result_rows(outcomes: Sequence[Finding | Failure]) -> pd.DataFrame:
    """A row per `variant`, `seed`, `scenario` and `stage` with `SCORES`; one row with its `status` for a failed run."""
    rows: list[Row] = []
    for own in outcomes:
        place = {"variant": own.run.variant, "seed": own.run.seed}
        if isinstance(own, Failure):
            rows.append({**place, "scenario": own.run.scenario, "stage": "", "status": f"failed: {own.reason}"})
            continue
        for scenario, found in own.metrics["scenarios"].items():
            for stage in MODELS:
                scores = {name: (found[stage] or {}).get(name) for name in SCORES}
                status = "finished" if found[stage] else "not scored"
                rows.append({**place, "scenario": scenario, "stage": stage, **scores, "status": status})
    return pd.DataFrame(rows, columns=["variant", "seed", "scenario", "stage", *SCORES, "status"])


def difference_rows(outcomes: Sequence[Finding | Failure]) -> pd.DataFrame:
    """Every variant against the full method, for each scenario and averaged over them.

    Returns:
        a row per `variant`, `stage` of `COMPARED` and `scenario` (`AVERAGE` last): the number of `seeds` that both
        finished and of `identities`; `mAP` and `rank1`, means over these seeds; `difference` and `rank1_difference` to
        the full method with the same seeds; `low` and `high`, the paired bootstrap interval of `difference`. The full
        method has no difference. Only scenarios that were scored with every such seed are there.
    """
    findings = [own for own in outcomes if isinstance(own, Finding)]
    names = [name for name in VARIANTS if any(own.run.variant == name for own in findings)]
    return pd.DataFrame([row for name in names for stage in COMPARED for row in _compare(findings, name, stage)])


def _compare(findings: Sequence[Finding], variant: str, stage: str) -> list[Row]:
    """The rows of one variant and stage."""
    ours, theirs = (_by_place(findings, name) for name in (variant, FULL))
    seeds = sorted({seed for seed, _ in ours} & {seed for seed, _ in theirs})
    names = dict.fromkeys(scenario for _, scenario in theirs)
    scenarios = [name for name in names if all((seed, name) in ours and (seed, name) in theirs for seed in seeds)]
    if not seeds or not scenarios:
        return []
    pairs = [_pair(ours, theirs, seeds, scenario, (stage, stage)) for scenario in scenarios]
    rows: list[Row] = [
        {"identities": len(pair.counts), **_means(ours, theirs, seeds, scenario, stage)}
        for pair, scenario in zip(pairs, scenarios, strict=True)
    ]
    whole = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    rows.append({**whole, "identities": sum(row["identities"] for row in rows)})
    limits = [interval(resampled_differences(own)) for own in (*([pair] for pair in pairs), pairs)]
    head = {"variant": variant, "stage": stage, "seeds": len(seeds)}
    blank = dict.fromkeys(("difference", "rank1_difference", "low", "high"), np.nan) if variant == FULL else {}
    return [
        {**head, "scenario": scenario, **row, "low": low, "high": high, **blank}
        for scenario, row, (low, high) in zip([*scenarios, AVERAGE], rows, limits, strict=True)
    ]


def gain_rows(outcomes: Sequence[Finding | Failure]) -> pd.DataFrame:
    """What the full method makes of CLIP, for each scenario and averaged over them.

    Returns:
        a row per `scenario` (`AVERAGE` last) that was scored with every seed of the full method: `seeds`; mAP of each
        of `MODELS`, the mean over the seeds; `deviation` of the last of them; `single`, mAP of the models trained for
        one scenario each, NaN without them; `gain` of the last model over zero-shot, `low` and `high`, its paired
        bootstrap interval, and `least`, that of the worst seed.
    """
    findings = [own for own in outcomes if isinstance(own, Finding)]
    full, single = (_by_place(findings, name) for name in (FULL, SINGLE))
    seeds = sorted({seed for seed, _ in full})
    names = dict.fromkeys(name for _, name in full)
    scenarios = [name for name in names if all((seed, name) in full for seed in seeds)]
    if not scenarios:
        return pd.DataFrame()
    scores = {model: _with_average([_precision(full, seeds, name, model) for name in scenarios]) for model in MODELS}
    alone = _with_average([_precision(single, seeds, name, FINAL) for name in scenarios])
    pairs = [_pair(full, full, seeds, name, (FINAL, START)) for name in scenarios]
    limits = [interval(resampled_differences(own)) for own in (*([pair] for pair in pairs), pairs)]
    gains = scores[FINAL] - scores[START]
    return pd.DataFrame(
        {
            "scenario": [*scenarios, AVERAGE],
            "seeds": len(seeds),
            **{model: own.mean(axis=1) for model, own in scores.items()},
            "deviation": scores[FINAL].std(axis=1),
            "single": alone.mean(axis=1),
            "gain": gains.mean(axis=1),
            "low": [low for low, _ in limits],
            "high": [high for _, high in limits],
            "least": gains.min(axis=1),
        }
    )


def _precision(side: Findings, seeds: Sequence[int], scenario: str, model: str) -> list[float]:
    """The mAP with each seed, NaN where there is no such run."""
    found = (side.get((seed, scenario)) for seed in seeds)
    return [own.metrics["scenarios"][scenario][model]["mAP"] if own else np.nan for own in found]


def _with_average(rows: list[list[float]]) -> NDArray[np.float64]:
    """[scenarios + 1, seeds] the rows, and their mean last."""
    own = np.array(rows, dtype=np.float64)
    return np.vstack([own, own.mean(axis=0)])


def _pair(ours: Findings, theirs: Findings, seeds: Sequence[int], scenario: str, models: tuple[str, str]) -> PairedSums:
    """The differences of one scenario, query by query, between a model of ours and one of theirs."""
    asked = _queries(theirs[seeds[0], scenario], scenario)
    sides = [
        [_queries(side[seed, scenario], scenario)[model].reindex(asked.index).to_numpy() for seed in seeds]
        for side, model in zip((ours, theirs), models, strict=True)
    ]
    return pair_queries(sides[0], sides[1], asked["person"].to_numpy())


def _means(ours: Findings, theirs: Findings, seeds: Sequence[int], scenario: str, stage: str) -> Row:
    """The scores, averaged over the seeds, and their differences."""

    def mean(side: Findings, name: str) -> float:
        return float(np.mean([side[seed, scenario].metrics["scenarios"][scenario][stage][name] for seed in seeds]))

    return {
        "mAP": mean(ours, "mAP"),
        "rank1": mean(ours, "rank1"),
        "difference": mean(ours, "mAP") - mean(theirs, "mAP"),
        "rank1_difference": mean(ours, "rank1") - mean(theirs, "rank1"),
    }


def _by_place(findings: Sequence[Finding], variant: str) -> Findings:
    """The findings of a variant by seed and scored scenario."""
    return {
        (own.run.seed, scenario): own
        for own in findings
        if own.run.variant == variant
        for scenario, found in own.metrics["scenarios"].items()
        if found[FINAL]
    }


def _queries(finding: Finding, scenario: str) -> pd.DataFrame:
    """The queries of one scenario by their path."""
    return finding.queries[finding.queries["scenario"] == scenario].set_index("path")


def epoch_table(outcomes: Sequence[Finding | Failure]) -> pd.DataFrame:
    """The rows of every run's epochs, with `variant` and `seed`."""
    findings = [own for own in outcomes if isinstance(own, Finding)]
    tables = [own.epochs.assign(variant=own.run.variant, seed=own.run.seed) for own in findings]
    if not tables:
        return pd.DataFrame()
    joined = pd.concat(tables, ignore_index=True)
    return joined[["variant", "seed", *(name for name in joined.columns if name not in ("variant", "seed"))]]


def health_rows(outcomes: Sequence[Finding | Failure]) -> pd.DataFrame:
    """How label-free health goes with the score: Spearman's rank correlation over the runs.

    Returns:
        a row per `scenario` and `measure` of `HEALTH`: `runs` that measured it, and `correlation` of the last epoch's
        value in Stage III (the mean of the two groups) with the final mAP; NaN below `LEAST_RUNS` runs and where one of
        the two is the same in all.
    """
    places: dict[str, list[tuple[Row, float]]] = {}
    for own in (own for own in outcomes if isinstance(own, Finding)):
        for scenario, found in own.metrics["scenarios"].items():
            if found[FINAL]:
                measured = found.get("health", {}).get(FINAL, {})
                places.setdefault(scenario, []).append((measured, found[FINAL]["mAP"]))
    return pd.DataFrame(
        [
            {"scenario": scenario, "measure": measure, **_correlation(measure, runs)}
            for scenario, runs in places.items()
            for measure in HEALTH
        ]
    )


def _correlation(measure: str, runs: Sequence[tuple[Row, float]]) -> Row:
    pairs = [
        (float(np.mean([group[measure] for group in groups.values()])), score)
        for groups, score in runs
        if groups and all(group.get(measure) is not None for group in groups.values())
    ]
    values, scores = [value for value, _ in pairs], [score for _, score in pairs]
    varied = len(pairs) >= LEAST_RUNS and len(set(values)) > 1 and len(set(scores)) > 1
    return {"runs": len(pairs), "correlation": float(spearmanr(values, scores)[0]) if varied else np.nan}
