"""The error lab's pictures, from a browser that moves its controls: error_lab.gif and lab_{make,find,what}.png.

    eln-kit run nuclei --set data.labeled_ids=ids.txt --set model.eln_form=features --set model.eln_scales=[1.25] \
        --set supervised.steps=150 --set error_localization.steps=50 --set semi_supervised.steps=1
    PYTHONPATH=tests/helpers python docs/record_lab.py runs/nuclei --image 7 --knobs data.root=datasets/stained

needs Chromium and some three minutes; ids.txt has the three images of `eln-kit choose`. The photographs are Data
Science Bowl 2018's, which are CC0. datasets/stained is datasets/nuclei with only the eight images of stained tissue in
images/val and masks/val, so that the lab shows these.
"""

import argparse
import io
import shutil
import tempfile
import time
from pathlib import Path

import jupyter_lab
import nbformat
from PIL import Image
from playwright.sync_api import Page

from eln_kit.paths import project_root

DOCS = Path(__file__).parent
WIDE, HIGH = 1480, 2600  # of the window, pixels; a part of the lab has to fit in
QUIET = 4  # seconds
SHOWN = "[...document.querySelectorAll('.eln-part')].map((part) => part.innerHTML).join()"
RATIOS = 12  # moves of the slider, each a factor of 1.26
FRAME, LAST = 450, 2500  # milliseconds
UNSEEN = """.eln-picture-ratios, .eln-picture-filter, .eln-part .eln-numbers, .eln-pictures .widget-html
{ display: none !important }"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--knobs", default="", help="on top of the run's, such as data.root=FOLDER for other images")
    parser.add_argument("--image", type=int, default=1, help="which of the held-out images is shown, from 1")
    parser.add_argument("--out", type=Path, default=DOCS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = prepared(Path(folder), options.run, options.knobs)
        with (
            jupyter_lab.served(project) as address,
            jupyter_lab.opened(f"{address}/lab/tree/error_lab.ipynb?token=t", WIDE, HIGH) as page,
        ):
            jupyter_lab.run_all(page)
            press(page, "image", "ArrowRight", options.image - 1)
            stills(page, options.out)
            save(moving(page), options.out / "error_lab.gif")


def prepared(project: Path, run: Path, knobs: str) -> Path:
    """A folder with the notebook, set to open the run."""
    notebook = nbformat.read(project_root() / "notebooks" / "error_lab.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace('\nrun = ""', f"\nrun = {str(run.resolve())!r}")
        cell.source = cell.source.replace('\nknobs = ""', f"\nknobs = {knobs!r}")
    nbformat.write(notebook, project / "error_lab.ipynb")
    shutil.copytree(project_root() / "params", project / "params")
    return project


def stills(page: Page, out: Path) -> None:
    for number, name in enumerate(("make", "find", "what")):
        page.locator(".eln-part").nth(number).screenshot(path=out / f"lab_{name}.png")


def moving(page: Page) -> list[Image.Image]:
    """Frames in which the first ratio is dragged, and ELN judges that decoder."""
    page.add_style_tag(content=UNSEEN)
    page.locator(".eln-part").nth(1).get_by_role("combobox").select_option(index=1)
    settle(page)
    frames = [frame(page)]
    for _ in range(RATIOS):
        press(page, "ratio 1", "ArrowRight", 2)
        frames.append(frame(page))
    return frames


def press(page: Page, name: str, key: str, times: int) -> None:
    """Move a slider by the keyboard, and wait until all is shown."""
    for _ in range(times):
        jupyter_lab.slider(page, name).first.press(key)
    settle(page)


def settle(page: Page) -> None:
    """Wait until nothing on the page has changed for a while."""
    shown, since = "", time.monotonic()
    while time.monotonic() - since < QUIET:
        time.sleep(0.2)
        if (now := page.evaluate(SHOWN)) != shown:
            shown, since = now, time.monotonic()


def frame(page: Page) -> Image.Image:
    """The first two parts, one above the other."""
    parts = [page.locator(".eln-part").nth(number).screenshot() for number in (0, 1)]
    upper, lower = (Image.open(io.BytesIO(part)).convert("RGB") for part in parts)
    both = Image.new("RGB", (upper.width, upper.height + lower.height), "white")
    both.paste(upper, (0, 0))
    both.paste(lower, (0, upper.height))
    return both


def save(frames: list[Image.Image], file: Path) -> None:
    """There and back, in one palette, so that what does not move costs nothing."""
    palette = frames[len(frames) // 2].quantize(256)
    frames = [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in frames]
    times = [FRAME] * (len(frames) - 1) + [LAST]
    frames[0].save(file, save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=True)


if __name__ == "__main__":
    main()
