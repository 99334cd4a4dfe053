from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deliveries import DECLARED, judge, take
from faults import clean_drop

from itkm.feeds import history
from itkm.feeds.accept import accept


def feed(folder: Path, start: int, status: str = "accepted") -> tuple[Path, history.Record]:
    """A validated feed of ten images, and its record."""
    drop = clean_drop("vi", "vi-c1", images=40)
    for name in list(drop.files)[:start] + list(drop.files)[start + 10 :]:
        del drop.files[name]
    claimed, _ = take(drop.write(folder.with_name(f"{folder.name}-drop")), folder)
    return folder, history.record_of(claimed, judge(folder, status))  # type: ignore[arg-type]


def test_each_feed_of_a_camera_stands_once_as_it_went_on(tmp_path: Path) -> None:
    data = tmp_path / "vi"
    good, good_record = feed(tmp_path / "good", 0)
    bad, bad_record = feed(tmp_path / "bad", 20, "refused")
    for record in (good_record, bad_record, {**good_record, "status": "warnings"}):
        history.append(record, data / history.VALIDATED)
    history.append({**bad_record, "camera": "vi-c2"}, data / history.VALIDATED)
    found = history.earlier([data], "vi-c1").set_index("feed")
    assert found["event"].to_dict() == {good_record["feed"]: "validated", bad_record["feed"]: "validated"}
    assert found.loc[good_record["feed"], "status"] == "warnings"  # as last validated
    accept(good, data)
    accept(bad, data, override="wanted")
    found = history.earlier([data, tmp_path / "none"], "vi-c1").set_index("feed")
    assert set(found["event"]) == {"accepted"} and found.loc[bad_record["feed"], "override"] == "wanted"
    assert found["images"].tolist() == [10, 10] and found["date"].is_monotonic_increasing


def test_a_camera_without_a_feed_has_none(tmp_path: Path) -> None:
    assert history.earlier([tmp_path], DECLARED.camera).empty


def test_feeds_that_end_at_once_are_all_remembered(tmp_path: Path) -> None:
    numbers = range(40)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: history.append({"feed": number}, tmp_path / history.VALIDATED), numbers))
    assert sorted(record["feed"] for record in history.read(tmp_path / history.VALIDATED)) == list(numbers)


def test_a_history_in_the_cache_of_dvc_is_not_written_through_its_link(tmp_path: Path) -> None:
    cached = tmp_path / "cached"
    cached.write_text('{"feed": "a"}\n')
    file = tmp_path / history.ACCEPTED
    file.parent.mkdir()
    file.hardlink_to(cached)
    history.append({"feed": "b"}, file)
    assert cached.read_text() == '{"feed": "a"}\n'
    assert [record["feed"] for record in history.read(file)] == ["a", "b"]
