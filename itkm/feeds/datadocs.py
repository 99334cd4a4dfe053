"""Great Expectations' own page of a result, made to render without a network.

Its template asks nine outside hosts for styles and scripts, and shows logos and links of its maker. What is left
without them is a plain page: every expectation with what it observed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from itkm.files import write_bytes

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_OUTSIDE = (
    r"<script\b.*?</script>",
    r"<style\b.*?</style>",
    r"<link\b[^>]*>",
    r"<img\b[^>]*>",
    r"</?a\b[^>]*>",
    r"<label\b.*?</label>",
    r"<footer\b.*?</footer>",
    r"<!--.*?-->",
)


def write_data_docs(result: Any, folder: Path) -> None:
    """Writes `folder`/index.html.

    Args:
        result: an `ExpectationSuiteValidationResult`.
        folder: of Data Docs; made where it is missing.
    """
    from great_expectations.core import expectation_validation_result
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    values = json.loads(json.dumps(result.to_json_dict()))  # its renderers know no numbers of numpy
    plain = expectation_validation_result.expectationSuiteValidationResultSchema.load(values)
    document = ValidationResultsPageRenderer(run_info_at_end=True).render(plain)
    view: Any = DefaultJinjaPageView()  # it says no types
    write_bytes(folder / "index.html", offline(view.render(document)).encode())


def offline(page: str) -> str:
    """A page without anything that lies outside of it."""
    for pattern in _OUTSIDE:
        page = re.sub(pattern, "", page, flags=re.DOTALL | re.IGNORECASE)
    style = (Path(__file__).parent / "datadocs.css").read_text(encoding="utf-8")
    head = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n<style>\n{style}</style>\n</head>'
    return page.replace("</head>", head, 1)
