"""`make docs` on the notebooks of a small run."""

import re
import shutil
import subprocess
import sys
from html import unescape
from urllib.parse import urlsplit

import pytest
from executed import execute

from eln_kit import cli
from eln_kit.batch.state import NOTEBOOKS
from eln_kit.paths import project_root
from eln_kit.store.params_file import SECTIONS, save

pytest.importorskip("myst_nb", reason="myst-nb is not installed")
pytestmark = pytest.mark.slow


def slugs(page):
    """The places of a page that a link can name, as the site makes them of its headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_documents_lead_somewhere():
    pages = [project_root() / "README.md", project_root() / "CONTRIBUTING.md", *(project_root() / "docs").glob("*.md")]
    dead = []
    for page in pages:
        for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
            file, _, place = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            made = target.parent == page.parent and target.stem in ("knobs", "commands")  # by the site
            if not made and (not target.exists() or (place and target.suffix == ".md" and place not in slugs(target))):
                dead.append(f"{page.name}: {link}")
    assert dead == []


def build(run, out):
    flags = ["-W", "--keep-going", "-q", "-d", out / "doctrees", "-D", f"eln_run={run}"]
    command = [sys.executable, "-m", "sphinx", *flags, project_root() / "docs", out / "site"]
    return subprocess.run(command, capture_output=True, text=True)


def dead_links(site):
    """Links of any page to a file or a place in a page that is not there."""
    pages = {file.resolve(): file.read_text() for file in site.rglob("*.html")}
    places = {file: set(re.findall(r'\bid="([^"]+)"', page)) for file, page in pages.items()}
    for file, page in pages.items():
        for link in set(re.findall(r'\b(?:href|src)="([^":]+)"', page)):
            to = urlsplit(unescape(link))
            target = (file.parent / to.path).resolve() if to.path else file
            if not target.exists() or (to.fragment and to.fragment not in places.get(target, {to.fragment})):
                yield f"{file.name}: {link}"


@pytest.mark.nightly
def test_the_site_is_built_without_a_warning_and_needs_no_network(tiny, tmp_path):
    params = tiny()
    save(params, tmp_path / "tiny.yaml")
    run = tmp_path / "executed"
    run.mkdir()
    for name in NOTEBOOKS:
        shutil.copy(project_root() / "notebooks" / f"{name}.ipynb", run)
    execute("1_supervised", run / "1_supervised.ipynb", params=str(tmp_path / "tiny.yaml"))  # text, code and pictures

    built = build(run, tmp_path)
    assert built.returncode == 0, built.stderr
    site = tmp_path / "site"
    assert not list(dead_links(site))
    pages = {file.stem: file.read_text() for file in site.rglob("*.html")}
    fetched = re.compile(r"<(?:script|link|img)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//")
    assert not [name for name, page in pages.items() if fetched.search(page)]
    assert all("<math" in pages[name] and "MathJax" not in pages[name] for name in ("method", "3_semi_supervised"))
    assert "4 labelled and 8 unlabelled" in pages["1_supervised"]
    assert list((site / "_images").glob("*.png"))
    assert {"toy_method", "error_lab", "5_compare", "6_label_next", "guides", "trouble", "licences"} <= set(pages)
    for knob in (knob for kind in SECTIONS.values() for knob in kind.model_fields):
        assert f">{knob}</span>" in pages["knobs"]
    for function, _, _ in cli.COMMANDS:
        assert f"eln-kit {function.__name__.replace('_', '-')}" in pages["commands"]
    assert "eln_kit.load" in pages["eln_kit"]


@pytest.mark.nightly
def test_without_a_run_one_line_says_how_to_make_it(tmp_path):
    built = build(tmp_path / "none", tmp_path)
    assert built.returncode != 0
    assert "none/0_data.ipynb: is not there; make run makes it" in built.stderr
