"""Pages as a browser shows them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

PROBE = """<script>addEventListener("load", () => {
const all = [...document.querySelectorAll("main *")].filter(own => !own.closest(".scroll, details"));
const out = all.filter(own => own.getBoundingClientRect().right > innerWidth + 1).length;
const broken = [...document.images].filter(own => !own.naturalWidth).length;
const scroll = document.documentElement.scrollWidth - document.documentElement.clientWidth;
parent.postMessage([innerWidth, scroll, out, broken].join(" "), "*") })</script></body>"""
FRAME = """<!doctype html><title>waiting</title><script>onmessage = sent => { document.title = sent.data }</script>
<iframe src="page.html" style="width: {width}px; height: 900px; border: 0"></iframe>"""


def measure(page: str, folder: Path, *, width: int) -> str:
    """How Chromium shows a page in a window: "<width> <pixels to scroll> <elements that stick out> <broken images>".

    A script in a copy of the page (the page itself forbids scripts) measures; the copy lies in a frame, as Chromium's
    own window is never narrower than 500 pixels.
    """
    copy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page).replace("</body>", PROBE)
    (folder / "page.html").write_text(copy, encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.replace("{width}", str(width)), encoding="utf-8")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", "--dump-dom"]
    command += [(folder / "frame.html").as_uri()]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    measured = re.search(r"<title>([^<]*)</title>", answer)
    assert measured
    return measured[1]
