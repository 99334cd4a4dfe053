from __future__ import annotations

from pathlib import Path

import faults
import numpy as np
import pytest

from itkm.feeds.accepted import profile_scenario
from itkm.feeds.compare import ROWS, compare
from itkm.feeds.profile import profile_images
from itkm.feeds.thresholds import Reference


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Reference]:
    """Accepted data of all cameras but vi-c1, as a feed is compared with them."""
    data = faults.accepted(tmp_path_factory.mktemp("data"), "vi", without="vi-c1", limit=25)
    profile = profile_scenario(data)
    training = profile["split"] == "train"
    return data, Reference(profile[training], profile.loc[~training, ["path", "sha256", "phash"]], group="visible")


def test_planted_copies_and_overlaps_are_found_and_nothing_else(known: tuple[Path, Reference]) -> None:
    data, reference = known
    drop = faults.clean_drop("vi", "vi-c1", images=120)
    for fault in ("duplicated", "re-encoded", "evaluation overlap", "truncated"):
        drop = faults.plant(drop, fault, 0.1, data=data)
    accepted = sorted(faults.unpacked("vi")[1][path] for path in reference.own["path"])[:5]
    copies = {f"again-{number}.jpg": content for number, content in enumerate(accepted)}
    profile = compare(profile_images([*drop.files.items(), *copies.items()], workers=1), reference).set_index("path")
    grouped = set(profile.index[profile["duplicate_group"] >= 0])
    added = drop.planted["duplicated"] | drop.planted["re-encoded"]
    origins = {name.replace("-copy", "").replace("-again", "") for name in added}
    assert grouped == added | origins
    for name in added:
        origin = name.replace("-copy", "").replace("-again", "")
        assert profile.loc[name, "duplicate_group"] == profile.loc[origin, "duplicate_group"]
    assert set(profile.index[profile["evaluation_overlap"]]) == drop.planted["evaluation overlap"]
    assert set(profile.index[profile["known_duplicate"] != ""]) == set(copies)
    by_content = dict(zip(reference.own["sha256"], reference.own["path"], strict=True))
    for name in copies:
        assert profile.loc[name, "known_duplicate"] == by_content[profile.loc[name, "sha256"]]
    broken = profile.loc[sorted(drop.planted["truncated"])]
    assert set(broken["duplicate_group"]) == {-1} and not broken["evaluation_overlap"].any()


def test_the_distance_is_that_to_the_nearest_by_cosine() -> None:
    rng = np.random.default_rng(0)
    content = next(iter(faults.clean_drop("vi", "vi-c1", images=1).files.values()))
    profile = profile_images([("a", content), ("broken", b""), ("b", content)], workers=1)
    features = rng.normal(size=(2, 8)).astype(np.float32)
    accepted = (rng.normal(size=(3 * ROWS, 8)) * rng.uniform(0.1, 9, (3 * ROWS, 1))).astype(np.float32)
    nothing = Reference.empty()
    reference = Reference(nothing.profile, nothing.evaluation, features=accepted)
    found = compare(profile, reference, features)["embedding_distance"].to_numpy()
    expected = [
        min(1 - own @ other / np.linalg.norm(own) / np.linalg.norm(other) for other in accepted) for own in features
    ]
    assert found[[0, 2]] == pytest.approx(expected, abs=1e-5) and np.isnan(found[1])
    assert compare(profile, nothing, features)["embedding_distance"].isna().all()


def test_a_feed_of_which_nothing_decodes_can_be_compared() -> None:
    profile = compare(profile_images([("a", b""), ("b", b"x")], workers=1), Reference.empty())
    assert profile["duplicate_group"].tolist() == [-1, -1] and not profile["evaluation_overlap"].any()
