import doctest
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from trees import fails, write_image

import eln_kit
from eln_kit.faults import CheckpointError
from eln_kit.tools import model as models


@pytest.fixture(scope="module")
def model(trained):
    return eln_kit.load(trained)


def test_the_package_alone_is_imported_without_torch():
    code = "import sys, eln_kit; assert not {'torch', 'numpy'} & {*sys.modules}"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_example_in_the_docstring_runs(trained, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "shapes").symlink_to(trained)
    write_image(tmp_path / "photo.png", (40, 56))
    monkeypatch.chdir(tmp_path)
    tried = doctest.testmod(eln_kit)
    assert tried.attempted
    assert not tried.failed


def test_file_picture_array_and_tensor_of_one_image_are_seen_alike(model, tmp_path):
    file = write_image(tmp_path / "a.png", (40, 56))
    picture = Image.open(file)
    array = np.array(picture)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    found = model([file, str(file), picture, array, tensor, tensor.float() / 255])
    assert all((each.trust == found[0].trust).all() and (each.mask == found[0].mask).all() for each in found)
    assert len(model.classes) == len(model.colors)
    assert found[0].mask.max() < len(model.classes)
    assert (found[0].mask != found[0].second).all()


def test_images_of_several_sizes_come_back_in_order_each_at_its_own(model):
    sizes = [(40, 56), (40, 56), (32, 48), (1, 1)]
    images = [torch.randint(256, (3, *size), dtype=torch.uint8) for size in sizes]
    found = model(images)
    assert [each.mask.shape for each in found] == [each.trust.shape for each in found] == sizes
    alone = model(images[1])
    assert np.abs(alone.trust - found[1].trust).max() < 1e-5, "alone or beside others"


def test_trust_is_what_eln_says_of_the_segmenter(model):
    image = torch.randint(256, (3, 40, 56), dtype=torch.uint8)
    logits, right = model.ask(image[None] / 255, model.params.evaluation)
    found = model(image)
    assert np.allclose(found.trust, right[0, 0].sigmoid().cpu(), atol=1e-6)
    assert (found.mask == logits[0].argmax(0).cpu().numpy()).all()
    assert (found.keep == (found.trust >= 0.5)).all()


def test_a_large_image_is_seen_in_windows_and_as_many_together_as_have_the_pixels(model, monkeypatch):
    seen = []
    ask = lambda image, knobs: (seen.append((len(image), knobs.window)), (image[:, :2], image[:, :1]))[1]  # noqa: E731
    asked = models.Model(ask, model.dataset, model.params)
    asked([torch.zeros(3, 128, 128)] * 5)
    monkeypatch.setattr(models, "LARGE", 100)
    asked([torch.zeros(3, 10, 10), torch.zeros(3, 10, 11)])
    assert models.TOGETHER == 4 * 128 * 128
    assert seen == [(4, []), (1, []), (1, []), (1, models.WINDOW)]


def test_what_is_no_image_and_what_is_no_export_is_one_line(model, tmp_path):
    with fails("give an array uint8 H W 3"):
        model(np.zeros((4, 4, 7), np.uint8))
    (tmp_path / "x.pt2").write_text("no model")
    with pytest.raises(CheckpointError, match=r"x.pt2: not a model that eln-kit export"):
        eln_kit.load(tmp_path / "x.pt2")
