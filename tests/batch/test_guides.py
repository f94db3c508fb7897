"""The commands of docs/guides.md, as they stand there, on a tiny folder; and what docs/trouble.md says."""

import contextlib
import re
import shlex
import shutil
import subprocess

import numpy as np
import pytest
import timm
import torch
import yaml
from conftest import TINY
from PIL import Image

from eln_kit import __version__, cli
from eln_kit.paths import project_root
from eln_kit.store.params_file import build, load
from eln_kit.tools import promise

DOCS = project_root() / "docs"


def blocks(page: str, language: str = "sh") -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def section(page: str, title: str) -> str:
    return re.split(rf"^## {re.escape(title)}$", (DOCS / page).read_text(), flags=re.MULTILINE)[1].split("\n## ")[0]


def commands(text: str) -> list[str]:
    """The lines of a section's shell blocks."""
    found = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in found for line in block.replace("\\\n", " ").splitlines()]


GUIDE = commands(section("guides.md", "300 images, 10 masks"))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose `photos` trains in seconds, and a folder of thirty photographs."""
    shutil.copytree(project_root() / "notebooks", tmp_path / "notebooks")
    (tmp_path / "params").mkdir()
    small = {knob: value for knob, value in TINY.items() if not knob.startswith("data.")}
    small |= {"data.name": "folder", "data.root": "my_images", "data.labels": "1/1", "run.folder": "runs/photos"}
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "encoder.pt")  # as trouble.md has it
    small |= {
        "model.encoder_weights": "encoder.pt",
        "data.batch_labeled": 2,
        "data.batch_unlabeled": 2,
        "run.control": False,
    }
    (tmp_path / "params/photos.yaml").write_text(yaml.safe_dump(build({}, small).model_dump()))
    (tmp_path / "photographs").mkdir()
    for number in range(30):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photographs/photo{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw_masks(project, names) -> None:
    """What the reader does by hand: masks of the images of these names, wherever they are."""
    for name in names:
        (image,) = project.glob(f"my_images/images/*/{name}.png")
        mask = (np.asarray(Image.open(image))[..., 0] > 127).astype(np.uint8)
        Image.fromarray(mask).save(project / "my_images/masks" / image.parent.name / image.name)


def carry_out(line: str) -> str:
    """A line of the text: the kit's command in this process, all else by the shell. Gives what was printed."""
    if not line.startswith("eln-kit "):
        return subprocess.run(["bash", "-euc", line], check=True, capture_output=True, text=True).stdout
    assert cli.main(shlex.split(line)[1:]) == 0, line
    return ""


def chosen(project) -> list[str]:
    return (project / "ids.txt").read_text().split()


def to_the_masks(project) -> list[str]:
    """Carries the guide out up to the masks, and draws them; gives the lines that are left."""
    place = next(number for number, line in enumerate(GUIDE) if line.startswith("eln-kit check"))
    for line in GUIDE[:place]:
        carry_out(line)
    assert len(chosen(project)) == 10
    assert len([*project.glob("my_images/images/val/*")]) == 3
    draw_masks(project, chosen(project))
    return GUIDE[place:]


@pytest.mark.slow
def test_ten_masks_are_chosen_divided_and_checked_by_the_guides_own_lines(project, capsys):
    left = to_the_masks(project)
    carry_out(left[0])
    assert "7 labelled" in (printed := capsys.readouterr().out), printed
    runs = [line for line in left if line.startswith("eln-kit run")]
    assert len(runs) == 4
    for line in runs:
        carry_out(f"{line} --dry-run")


@pytest.mark.nightly
def test_the_guide_from_an_empty_folder_to_the_next_ten_labels(project, capsys):
    for line in to_the_masks(project):
        printed = carry_out(line)
        if line.startswith("head"):
            assert len(printed.splitlines()) == 11
        if line.startswith("for image"):
            new = [file.stem for file in project.glob("my_images/images/train/*") if file.stem not in chosen(project)]
            assert len(new) == 10
            draw_masks(project, new)
    assert "17 labelled" in capsys.readouterr().out
    assert (project / "runs/second/4_evaluate/results.json").is_file()


@pytest.mark.parametrize(("precision", "needed"), [(0.8, 13), (0.9, 25), (0.95, 48), (0.98, 117), (0.99, 232)])
def test_the_docs_say_how_many_validation_masks_a_precision_needs(precision, needed):
    assert f"| {precision:g} | {needed} |" in section("carry_away.md", "What `--precision` promises")
    counts = np.zeros((needed, 1, 256, 2), dtype=np.int64)
    counts[:, 0, 255, 1] = 100  # every pixel is right, and as sure as can be
    assert can_be_promised(counts, precision)
    assert not can_be_promised(counts[1:], precision)


def can_be_promised(counts, precision) -> bool:
    with contextlib.suppress(promise.DataError):
        return (promise.choose(counts, precision) != promise.NEVER).all()
    return False


def test_the_other_guides_and_trouble_name_params_and_knobs_that_there_are():
    lines = [line for page in ("guides.md", "trouble.md") for line in commands((DOCS / page).read_text())]
    lines = [found[1] for line in lines if (found := re.match(r"(?:eln-kit|sbatch .* params/job.sh) (run .*)", line))]
    assert len(lines) >= 8
    for line in lines:
        words = shlex.split(line)
        knobs = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
        load(words[1], knobs)


def test_the_code_of_trouble_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = blocks("trouble.md", "python")
    assert len(found) == 2
    for code in found:
        exec(code, {})
    assert Image.open("three.png").mode == "RGB"
    assert len([*tmp_path.glob("patient1_*.png")]) == 8


def test_every_message_that_trouble_explains_is_one_of_the_code():
    page = (DOCS / "trouble.md").read_text()
    code = " ".join(file.read_text() for file in [*project_root().glob("eln_kit/**/*.py"), project_root() / "Makefile"])
    for words in (
        "has no venv module",
        "needs Python 3.11 or newer",
        "its kernel died in cell",
        "the system may have run out of memory",
        "a training process was killed by",
        "/dev/shm or the number of open files may be too small",
        "imagenet weights could not be downloaded",
        "bands, and three are read",
        "frames or pages",
        "holds floating-point numbers",
    ):
        assert words in page
        assert words in code


def test_what_there_is_to_cite_has_the_version_of_the_kit():
    cited = yaml.safe_load((project_root() / "CITATION.cff").read_text())
    assert (cited["version"], cited["license"]) == (__version__, "MIT")
    assert f"version = {{{__version__}}}" in (DOCS / "licences.md").read_text()
    changes = (project_root() / "CHANGELOG.md").read_text()
    assert f"## [{__version__}] - {cited['date-released']}" in changes
