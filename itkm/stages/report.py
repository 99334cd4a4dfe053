"""The result for people: `reports/report.html`, and the run in MLflow. Computes nothing that a number depends on."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from itkm.config import Settings
from itkm.data.manifest import COLUMNS, read_table
from itkm.evaluation.protocols import protocol_named
from itkm.files import write_bytes
from itkm.report.galleries import Gallery, build_gallery
from itkm.report.history import Row, read_history
from itkm.report.page import Report, build_page
from itkm.report.thumbnails import Thumbnails
from itkm.stages.layout import Layout
from itkm.tracking import log_run, versions

PICTURE_BYTES = 4_500_000  # the page stays below 5 MB

logger = logging.getLogger(__name__)


def run(settings: Settings, layout: Layout) -> None:
    """Writes the page and logs the run; MLflow receives the page without any image of a person."""
    report = make_report(settings, layout)
    page = build_page(report, images=True).encode()
    write_bytes(layout.report, page)
    logger.info("report: %s, %.1f MB, opens in any browser without a network", layout.report, len(page) / 1e6)
    with page_without_images(report, layout) as bare:
        log_run(settings, report.metrics, report.histories, bare, root=layout.root)


def make_report(settings: Settings, layout: Layout) -> Report:
    """All that the page shows, from the files of the stages before."""
    galleries, thumbnails = collect_pictures(settings, layout)
    return Report(
        metrics=json.loads(layout.metrics.read_text(encoding="utf-8")),
        galleries=galleries,
        histories=read_histories(layout),
        settings=settings,
        versions=versions(settings, layout.root),
        thumbnails=thumbnails,
    )


@contextlib.contextmanager
def page_without_images(report: Report, layout: Layout) -> Iterator[Path]:
    """A file of the page as it may leave this machine: with no image of a person."""
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / layout.report.name
        bare.write_text(build_page(report, images=False), encoding="utf-8")
        yield bare


def read_histories(layout: Layout) -> dict[str, list[Row]]:
    """The history of every training stage."""
    folders = {"homogeneous": layout.homogeneous, "prompts": layout.prompts, "heterogeneous": layout.heterogeneous}
    return {stage: read_history(folder / "history.csv") for stage, folder in folders.items()}


def collect_pictures(settings: Settings, layout: Layout) -> tuple[list[Gallery], dict[tuple[str, str], str]]:
    """What the page shows of every scenario, and the images for it as data URIs."""
    galleries: list[Gallery] = []
    thumbnails = Thumbnails(PICTURE_BYTES)
    for scenario in sorted(settings.scenarios):  # as metrics.json has them
        table = read_table(layout.evaluation_table(scenario), COLUMNS)
        with np.load(layout.scored(scenario), allow_pickle=False) as stored:
            scored = dict(stored)
        with np.load(layout.heterogeneous / f"{scenario}.npz", allow_pickle=False) as stored:
            final = dict(stored)
        protocol = protocol_named(settings.evaluate.protocol_of(scenario))
        gallery = build_gallery(scenario, table, scored, final, protocol, seed=settings.seed)
        galleries.append(gallery)
        thumbnails.add(scenario, [own.path for own in gallery.pictures], table, layout.data(scenario))
    return galleries, thumbnails.encode()
