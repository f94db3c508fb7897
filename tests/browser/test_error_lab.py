"""JupyterLab in a real browser: the error lab's controls give the pictures and numbers that the package computes."""

import base64
import html
import io
import re
import time

import nbformat
import pytest
from conftest import TINY
from finished import copied
from patience import until
from PIL import Image

from eln_kit import cli, figures
from eln_kit.lab import Settings, open_session, views
from eln_kit.paths import project_root
from eln_kit.store.params_file import build, load

jupyter_lab = pytest.importorskip("jupyter_lab", reason="playwright is not installed")
run_all, slider = jupyter_lab.run_all, jupyter_lab.slider
pytestmark = [pytest.mark.slow, pytest.mark.skipif(jupyter_lab.CHROMIUM is None, reason="chromium is not installed")]


NOTEBOOK = project_root() / "notebooks" / "error_lab.ipynb"


@pytest.fixture(scope="module")
def server(trained, scenes, tmp_path_factory):
    """JupyterLab in a project with a run after stage 1: the folder and the address."""
    folder = tmp_path_factory.mktemp("project")
    params = build({}, TINY | {"data.root": str(scenes), "run.folder": str(folder / "runs" / "tiny")})
    copied(trained, params, "1_supervised")
    (folder / "notebooks").mkdir()
    (folder / "params").mkdir()
    with jupyter_lab.served(folder) as address:
        yield folder, address


@pytest.fixture
def project(server, monkeypatch):
    folder, address = server
    monkeypatch.chdir(folder)
    yield folder
    jupyter_lab.end_kernels(address)


@pytest.fixture
def page(server, project, request):
    """A notebook of its own, set to open the run; settings of JupyterLab may be given by parameter."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace('\nrun = ""', '\nrun = "runs/tiny"')
    file = project / "notebooks" / f"{len([*project.glob('notebooks/*')])}.ipynb"
    nbformat.write(notebook, file)
    jupyter_lab.set_up(project, **getattr(request, "param", {}))
    with jupyter_lab.opened(f"{server[1]}/lab/tree/notebooks/{file.name}?token=t&reset", 1280, 900) as page:
        yield page


@pytest.mark.parametrize(
    "page",
    [
        pytest.param({}, id="JupyterLab's default"),
        pytest.param({"subshells": "disabled"}, id="no subshells", marks=pytest.mark.nightly),
        pytest.param({"subshells": "perComm"}, id="a subshell a widget", marks=pytest.mark.nightly),
    ],
    indirect=True,
)
def test_each_of_many_unhurried_moves_is_answered_by_its_own_tables_and_pictures(page, project):
    run_all(page)
    session, ratios, shares = open_session("runs/tiny"), [2.0, 5.0], [6, 14]  # of 20 of a power of 10
    seen: list = []

    def answered(place: int, threshold: float = 0.57) -> None:
        shown = expected(session, Settings(tuple(ratios)), threshold, place)
        complaints = page.locator(".eln-complaint")
        until(lambda: found(page) == shown or complaints.count())
        assert complaints.all_inner_texts() == []
        assert shown not in seen, "each move changes what is shown"
        seen.append(shown)
        time.sleep(0.5)

    answered(0, 0.5)
    for _ in range(7):
        slider(page, "threshold").press("ArrowRight")
    answered(0)
    for moved in (0, 1, 0, 0):
        slider(page, f"ratio {moved + 1}").press("ArrowRight")
        shares[moved] += 1
        ratios[moved] = float(f"{10 ** (shares[moved] / 20):.3g}")
        answered(0)
    for place in (1, 2):
        slider(page, "image").first.press("ArrowRight")
        answered(place)
    page.get_by_role("button", name="Error rate by ratio").click()
    page.get_by_text("(9 of 9 known)").wait_for()
    page.locator(".eln-picture-sweep:not(.eln-pale) img").wait_for()
    page.get_by_role("button", name="Train ELN").click()
    page.get_by_role("cell", name="20 steps", exact=True).wait_for()
    list(session.train_eln(20, session.erring))
    answered(2)
    for _ in range(96):
        slider(page, "steps").last.press("ArrowRight")
    page.get_by_role("button", name="Train ELN").click()
    time.sleep(1)
    page.get_by_role("button", name="Stop").last.click()
    page.get_by_text("ready").last.wait_for()
    steps = int(page.get_by_role("cell", name=" steps").last.inner_text().split()[0])
    assert 20 < steps < 520
    list(session.train_eln(steps - 20, session.erring))
    answered(2)
    page.get_by_role("button", name="Write params file").click()
    page.get_by_text("Train with: eln-kit run params/my_lab").wait_for()
    (written,) = (project / "params").glob("my_lab*.yaml")
    assert load(written).error_localization.ratios == ratios
    assert load(written).semi_supervised.threshold == 0.57
    assert cli.main(["run", str(written), "--dry-run"]) == 0
    written.unlink()
    assert "Traceback" not in (project / "server.log").read_text()


@pytest.mark.parametrize(
    "size", [(1280, 900), *(pytest.param(size, marks=pytest.mark.nightly) for size in ((1440, 900), (1920, 1080)))]
)
def test_a_ratio_is_moved_beside_its_decoders_errors_and_a_decoder_more_moves_no_control(page, size):
    page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
    run_all(page)
    errors = page.locator(".eln-picture-errors img").first
    errors.wait_for()
    controls = [slider(page, name).first for name in ("image", "ratio 2", "dropped")]
    go = page.get_by_role("button", name="Error rate by ratio")
    page.evaluate("document.querySelector('.eln-part').scrollIntoView()")
    before = [each.bounding_box() for each in (*controls, go)]
    picture = errors.bounding_box()
    for box in (*before, picture):
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= size[1]
        assert box["x"] + box["width"] <= size[0]
    slider(page, "decoders").press("ArrowRight")
    page.get_by_text("auxiliary 3, held at").wait_for()
    assert [each.bounding_box() for each in (*controls, go)] == [pytest.approx(box, abs=1) for box in before]
    go.click()
    swept = page.locator(".eln-picture-sweep img")
    swept.wait_for()
    below = go.bounding_box()
    assert 0 <= swept.bounding_box()["y"] - below["y"] - below["height"] < 30
    page.mouse.move(picture["x"] + 50, picture["y"] + 50)
    page.mouse.wheel(0, 200)
    until(lambda: errors.bounding_box()["y"] < picture["y"] - 100)
    assert go.bounding_box() == pytest.approx(below, abs=1)


@pytest.mark.nightly
@pytest.mark.parametrize("page", [{"theme": "JupyterLab Dark"}], indirect=True)
def test_pictures_take_the_pages_colour_and_say_what_lies_under_the_mouse(page, project):
    run_all(page)
    until(lambda: all(corner(found(page)[name]) == (17, 17, 17) for name in ("errors", "maps", "filter")))
    picture = page.locator(".eln-picture-errors img").first
    picture.hover(position={"x": 40, "y": 60})
    session = open_session("runs/tiny")
    box, truth = picture.bounding_box(), session.held[0].truth
    list(session.make_errors(Settings((2.0, 5.0))))
    figure = views.errors(session, 0)[0].figure
    figures.drawn(figure)
    row, column = figures.pixel_at(figure, 40 / box["width"], 60 / box["height"])
    page.get_by_text(f"truth: {session.experiment.dataset.classes[truth[row, column]]}").first.wait_for()
    page.mouse.move(5, 5)
    until(lambda: page.locator(".eln-reading p").count() == 0)


def corner(png: bytes) -> tuple:
    return Image.open(io.BytesIO(png)).getpixel((1, 1)) if png else ()


def expected(session, settings: Settings, threshold: float, place: int = 0) -> dict:
    """Pictures and tables as the package gives them."""
    list(session.make_errors(settings))
    judged = session.find(place, 0)
    return {
        "errors": views.errors(session, place)[0].png(),
        "maps": figures.drawn(views.maps(session, judged)[0]),
        "filter": views.filtering(session, judged).at(threshold).png(),
        "tables": [cells(views.numbers(session)), cells(views.filter_numbers(threshold, judged))],
    }


def found(page) -> dict:
    """The same from the page; a third table is that of trainings."""
    parts = page.evaluate(READ)
    return {name: base64.b64decode(each) for name, each in parts["pictures"].items()} | {"tables": parts["tables"][:2]}


READ = """async () => {
  const read = async (img) => {
    const data = new Uint8Array(await (await fetch(img.src)).arrayBuffer());
    return btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""));
  };
  const cells = (table) => Array.from(table.querySelectorAll("th, td"), (cell) => cell.textContent);
  const pictures = {};
  for (const name of ["errors", "maps", "filter"]) {
    const img = document.querySelector(`.eln-picture-${name} img[src^="blob:"]`);
    pictures[name] = img ? await read(img) : "";
  }
  return {
    pictures,
    tables: Array.from(document.querySelectorAll(".eln-lab .eln-numbers"), cells),
  };
}"""


def cells(table: str) -> list[str]:
    return [html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", table)]
