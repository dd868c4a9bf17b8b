"""Lay a page out in headless Chromium, where there is one: what scrolls sideways, the print."""

import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--disable-dev-shm-usage"),
)
TIMEOUT_S = 300
# a window is never narrower than 500 pixels, a frame is; opens all that is folded before it looks
SCRIPT = """
addEventListener("load", function () {
  var view = document.querySelector("iframe").contentWindow, page = view.document;
  var scripted = page.querySelectorAll(".scripted").length;
  page.querySelectorAll("details").forEach(function (d) { d.open = true; d.hidden = false; });
  var width = view.innerWidth, beyond = [], scrolling = [];
  if (page.documentElement.scrollWidth > width) {
    beyond.push("document " + page.documentElement.scrollWidth);
  }
  page.querySelectorAll("body *").forEach(function (e) {
    var right = e.getBoundingClientRect().right;
    if (right > width + 1 && !e.closest(".box") && !e.closest("svg") && !e.closest("option")) {
      beyond.push(e.tagName + "." + e.className + " " + Math.round(right));
    }
  });
  page.querySelectorAll(".box, pre").forEach(function (e) {
    if (e.scrollWidth > e.clientWidth + 1) {
      scrolling.push(e.innerText.slice(0, 60) + " " + e.scrollWidth + " of " + e.clientWidth);
    }
  });
  document.body.textContent = "FOUND" + JSON.stringify({
    width: width, beyond: beyond.slice(0, 20), scrolling: scrolling.slice(0, 20),
    scripted: scripted, hacked: "hacked" in view || "hacked" in window
  }) + "END";
});
"""


def find() -> str | None:
    """The path of a Chromium; None without one."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def _run(*options: str) -> bytes:
    program = find()
    assert program is not None
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [program, *OPTIONS, f"--user-data-dir={profile}", *options],
            capture_output=True,
            timeout=TIMEOUT_S,
        )
    return done.stdout


def measure(page: str, width: int, folder: Path) -> dict[str, Any]:
    """Lay out at a width in pixels: elements beyond it, boxes that scroll, whether scripts ran."""
    folder.mkdir()
    frame = f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{html.escape(page)}">'
    path = folder / "frame.html"
    path.write_text(
        f'<meta charset="utf-8"><body>{frame}</iframe><script>{SCRIPT}</script>', encoding="utf-8"
    )
    shown = _run("--window-size=1400,1000", "--dump-dom", path.as_uri()).decode(errors="replace")
    found = re.search(r"FOUND(\{.*\})END", html.unescape(shown), re.DOTALL)
    assert found, f"Chromium laid nothing out: {shown[:300]}"
    measured: dict[str, Any] = json.loads(found[1])
    return measured


def print_page(page: str, folder: Path) -> bytes:
    """The page as PDF."""
    source, target = folder / "page.html", folder / "page.pdf"
    source.write_text(page, encoding="utf-8")
    _run("--no-pdf-header-footer", f"--print-to-pdf={target}", source.as_uri())
    return target.read_bytes()
