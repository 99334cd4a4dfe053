"""The ablation in a page of Markdown, to be kept beside the code that it is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from itkm.ablation.bootstrap import LEVEL, RESAMPLES
from itkm.ablation.findings import Failure, Finding
from itkm.ablation.page import final_matches
from itkm.ablation.results import FINAL, HEALTH, difference_rows, gain_rows, health_rows
from itkm.ablation.variants import VARIANTS
from itkm.report.table import AVERAGE, percent, points

Cells = Sequence[str]


def build_summary(outcomes: Sequence[Finding | Failure], *, split: str, seeds: Sequence[int]) -> str:
    """What the method gains, what each of its parts is worth, and what it took.

    Args:
        outcomes: of all runs.
        split: the identities that were scored.
        seeds: of the ablation.
    """
    findings = [own for own in outcomes if isinstance(own, Finding)]
    failures = [f"* {own.run.title} failed: {own.reason}" for own in outcomes if isinstance(own, Failure)]
    rendered = bool(findings) and all(own.metrics["rendered"] for own in findings)
    parts = [
        "# Results",
        _about(outcomes, split, seeds, rendered=rendered),
        "\n".join(failures),
        *_section("## The method", _gains(gain_rows(outcomes))),
        *_section("## Its parts", _differences(difference_rows(outcomes))),
        *_section("## Why", _matches(final_matches(findings))),
        *_section("## Health without labels", _health(health_rows(outcomes))),
        *_section("## Time", _times(findings)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(outcomes: Sequence[Finding | Failure], split: str, seeds: Sequence[int], *, rendered: bool) -> str:
    """What the numbers are, and the command that gives them."""
    ran = {own.run.variant for own in outcomes}
    chosen = "" if ran == set(VARIANTS) else f" --variants {','.join(name for name in VARIANTS if name in ran)}"
    persons = " The persons are rendered: none of them exists." if rendered else ""
    return (
        f"mAP in % on {split} identities, means over seeds {', '.join(map(str, seeds))}.{persons} Intervals: "
        f"{LEVEL:.0%}, paired bootstrap with {RESAMPLES} resamples of identities and seeds.\n\n"
        f"Made by `itkm ablate --split {split} --seeds {','.join(map(str, seeds))}{chosen}`."
    )


def _gains(table: pd.DataFrame) -> str:
    """Scenarios by models."""
    if table.empty:
        return ""
    head = ("scenario", "zero-shot", "centred", "Stage I", "single-scenario", "joint", "gain", "least")
    return _table(
        head,
        (
            (
                row["scenario"],
                *(percent(row[name]) for name in ("zero_shot", "zero_shot_centred", "homogeneous")),
                _known(row["single"]),
                f"{percent(row[FINAL])} ± {percent(row['deviation'])}",
                _between(row["gain"], row["low"], row["high"]),
                points(row["least"]),
            )
            for _, row in table.iterrows()
        ),
    )


def _differences(table: pd.DataFrame) -> str:
    """Variants by scenarios, the average first."""
    if table.empty:
        return ""
    final = table[(table["stage"] == FINAL) & table["difference"].notna()]
    scenarios = [AVERAGE, *(name for name in dict.fromkeys(final["scenario"]) if name != AVERAGE)]
    rows = []
    for variant, own in final.groupby("variant", sort=False):
        found = own.set_index("scenario")
        cells = (found.loc[name] if name in found.index else None for name in scenarios)
        shown = ("-" if cell is None else _between(cell["difference"], cell["low"], cell["high"]) for cell in cells)
        rows.append((f"`{variant}`: {VARIANTS[str(variant)].about}", str(own["seeds"].iloc[0]), *shown))
    return "Difference to the full method, in points.\n\n" + _table(("variant", "seeds", *scenarios), rows)


def _matches(table: pd.DataFrame) -> str:
    """How right clusters and matches were in the end, by the hidden identities."""
    if table.empty:
        return ""
    head = ("scenario", "variant", "purity", "CHM precision", "recall", "IHM precision", "recall")
    names = ("purity", "chm_precision", "chm_recall", "ihm_precision", "ihm_recall")
    rows = (
        (row["scenario"], f"`{row['variant']}`", *(_known(row[name]) for name in names)) for _, row in table.iterrows()
    )
    return "Clusters and matches after the last epoch, judged by the hidden identities, in %.\n\n" + _table(head, rows)


def _health(table: pd.DataFrame) -> str:
    """Measures by scenarios."""
    if table.empty or table["correlation"].isna().all():
        return ""
    scenarios = list(dict.fromkeys(table["scenario"]))
    shown = table["correlation"].map(lambda value: "-" if np.isnan(value) else f"{value:+.2f}")
    found = dict(zip(zip(table["measure"], table["scenario"], strict=True), shown, strict=True))
    rows = ((name.replace("_", " "), *(found[name, own] for own in scenarios)) for name in HEALTH)
    about = f"Spearman's rank correlation with the final mAP over {table['runs'].max()} runs."
    return f"{about}\n\n{_table(('measure', *scenarios), rows)}"


def _times(findings: Sequence[Finding]) -> str:
    """What each variant took, beyond the stages that it shares with runs before it."""
    if not findings:
        return ""
    table = pd.DataFrame(
        {"variant": own.run.variant, "computed": own.computed, "minutes": own.seconds / 60} for own in findings
    )
    means = table.groupby("variant", sort=False).mean()
    rows = ((f"`{name}`", f"{row['computed']:.0f}", f"{row['minutes']:.1f}") for name, row in means.iterrows())
    return _table(("variant", "computed stages", "minutes"), rows)


def _section(title: str, content: str) -> tuple[str, ...]:
    return (title, content) if content else ()


def _table(head: Cells, rows: Iterable[Cells]) -> str:
    """A table of Markdown: words to the left, numbers to the right."""
    lines = [head, ["---", *(["--:"] * (len(head) - 1))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _between(middle: float, low: float, high: float) -> str:
    return f"{points(middle)} [{points(low)}, {points(high)}]"


def _known(fraction: float) -> str:
    return percent(None if np.isnan(fraction) else fraction)
