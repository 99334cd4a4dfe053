from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itkm.evaluation import ranks
from itkm.evaluation.features import FeatureSet
from itkm.evaluation.ranks import Shown, ranks_in_row


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 80),
    values=st.sampled_from([1, 3, 1000]),
    few=st.sampled_from([1, 4, 10**9]),
    many=st.sampled_from([0, 3, 10**9]),
)
def test_a_rank_is_the_place_in_the_sorted_row_whichever_way_it_is_found(
    seed: int, images: int, values: int, few: int, many: int
) -> None:
    rng = np.random.default_rng(seed)
    row = rng.integers(values, size=images).astype(np.float32)
    order = np.argsort(-row, kind="stable")
    places = np.sort(rng.choice(images, rng.integers(1, images + 1), replace=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "_FEW", few)
        patch.setattr(ranks, "_MANY", many)
        assert ranks_in_row(row, order[places]).tolist() == (places + 1).tolist()


def test_the_images_of_each_person_are_found() -> None:
    person = np.array([7, 3, 7, 0, 3, 9])
    gallery = FeatureSet(np.ones((6, 1), np.float32), person, np.zeros(6, np.int64))
    shown = Shown.of(gallery, np.array([0, 1, 2, 4]))
    asking, columns = shown.own_pairs(np.array([3, 5, 7, 99, -1, 3]))
    assert asking.tolist() == [0, 0, 2, 2, 5, 5]
    assert columns.tolist() == [1, 3, 0, 2, 1, 3]
    assert shown.persons.tolist() == [3, 7]
    assert shown.sizes.tolist() == [2, 2]
