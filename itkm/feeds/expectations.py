"""What a feed must be like that Great Expectations does not know by name: its library's classes with our meaning.

Each is a custom expectation as its documentation describes them: a class of the library whose column, limits and
description are ours. The columns beside those of the profile are made in `itkm.feeds.measures`. It imports Great
Expectations, which takes seconds: import it where it is needed.
"""

from __future__ import annotations

from typing import Any

from great_expectations.expectations.core.expect_column_max_to_be_between import ExpectColumnMaxToBeBetween
from great_expectations.expectations.core.expect_column_min_to_be_between import ExpectColumnMinToBeBetween
from great_expectations.expectations.core.expect_column_values_to_be_between import ExpectColumnValuesToBeBetween
from great_expectations.expectations.core.expect_column_values_to_be_in_set import ExpectColumnValuesToBeInSet


class ExpectFilesToDecode(ExpectColumnValuesToBeInSet):
    """Every file is a whole image."""

    column: str = "decode_ok"
    value_set: Any = (True,)
    description: str = "Files are whole images"


class ExpectKnownCameras(ExpectColumnValuesToBeInSet):
    """Each image comes from a camera that somebody has named: `value_set`."""

    column: str = "camera"
    description: str = "Images come from known cameras"


class ExpectOneCamera(ExpectColumnValuesToBeInSet):
    """Each image comes from the camera of the feed: `value_set`."""

    column: str = "camera"
    description: str = "All images come from the camera that the feed is declared for"


class ExpectNoEvaluationImages(ExpectColumnValuesToBeInSet):
    """No image, nor a copy of one, by which models are judged: training on it would falsify every score."""

    column: str = "evaluation_overlap"
    value_set: Any = (False,)
    description: str = "No image is among those by which models are judged"


class ExpectNewImages(ExpectColumnValuesToBeInSet):
    """No image, nor a copy of one, that was accepted before."""

    column: str = "known_duplicate"
    value_set: Any = ("",)
    description: str = "Images were not accepted before"


class ExpectFewRepetitions(ExpectColumnValuesToBeBetween):
    """Images of the feed do not nearly repeat each other; `duplicate_group` is -1 for those that do not."""

    column: str = "duplicate_group"
    max_value: Any = -1
    description: str = "Images do not nearly repeat each other"


class ExpectTimestampsInThePast(ExpectColumnValuesToBeBetween):
    """No clock that was never set (`min_value`), or that runs ahead of the delivery (`max_value`)."""

    column: str = "timestamp"
    description: str = "Timestamps lie between the year 2000 and the moment of delivery"


class ExpectTimestampsInOrder(ExpectColumnValuesToBeBetween):
    """Time does not run backwards within a tracklet."""

    column: str = "seconds_since_previous"
    min_value: Any = 0.0
    description: str = "Time runs forward within each tracklet"


class ExpectDeclaredModality(ExpectColumnValuesToBeBetween):
    """An infrared camera delivers grey (`min_value`), any other colour (`max_value`), however the file stores it."""

    column: str = "infrared_score"
    description: str = "Images are of the modality for which the camera is declared"


class ExpectDeclaredResolution(ExpectColumnValuesToBeBetween):
    """A camera of low resolution shows little detail (`max_value`), one of high resolution much (`min_value`)."""

    column: str = "detail"
    description: str = "Images show the detail of the group for which the camera is declared"


class ExpectFamiliarFeatures(ExpectColumnMaxToBeBetween):
    """To the model, the feed differs from the accepted data no more than accepted cameras differ from each other.

    `drift` is a measure of the feed, the same in every row.
    """

    column: str = "drift"
    description: str = "Features drift no further than between accepted cameras"


class ExpectHourlyCoverage(ExpectColumnMinToBeBetween):
    """Most hours between the first and the last image have images; `coverage` is the same in every row."""

    column: str = "coverage"
    description: str = "Most hours between first and last image have images"
