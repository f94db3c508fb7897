"""The generated data set: drawn once into a cache folder, then read as any other folder."""

import hashlib
import os
import shutil
import uuid
from pathlib import Path

import platformdirs
import yaml
from PIL import Image

from eln_kit.data.classes import palette
from eln_kit.data.folder import read_folder
from eln_kit.data.items import DataSet
from eln_kit.data.scenes import CLASSES, VERSION, draw_scene
from eln_kit.faults import DataError
from eln_kit.params import Data
from eln_kit.paths import resolve

SEED = 0  # draws the scenes


def open_shapes(data: Data) -> DataSet:
    """Scenes as `data.shapes_*` says, below `data.root` or else in the user's cache folder.

    Raises:
        DataError: the folder cannot be written, or somebody removed scenes from it.
    """
    parent = resolve(data.root) if data.root else Path(platformdirs.user_cache_dir("eln_kit"))
    folder = parent / f"shapes-{_fingerprint(data)}"
    if not folder.is_dir():
        try:
            _write(folder, data)
        except OSError as error:
            raise DataError(f"{folder}: cannot be written ({error}); set data.root to a folder that can") from None
    dataset = read_folder(folder, name="shapes")
    if (len(dataset.train), len(dataset.val)) != (data.shapes_train, data.shapes_val):
        raise DataError(f"{folder}: scenes are missing; delete the folder, and it is drawn anew")
    return dataset


def _fingerprint(data: Data) -> str:
    what = [VERSION, data.shapes_size, data.shapes_train, data.shapes_val, SEED]
    return hashlib.sha256(repr(what).encode()).hexdigest()[:12]


def _write(folder: Path, data: Data) -> None:
    """Draw beside `folder` and rename at the end: a process that stops or comes second breaks nothing."""
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        for split, count in (("train", data.shapes_train), ("val", data.shapes_val)):
            images, masks = temporary / "images" / split, temporary / "masks" / split
            images.mkdir(parents=True)
            masks.mkdir(parents=True)
            for index in range(count):
                image, mask = draw_scene(SEED, split, index, data.shapes_size)
                Image.fromarray(image).save(images / f"{index:04}.png")
                Image.fromarray(mask).save(masks / f"{index:04}.png")
        colors = palette(len(CLASSES)).tolist()
        classes = [{"name": name, "color": color} for name, color in zip(CLASSES, colors, strict=True)]
        (temporary / "dataset.yaml").write_text(yaml.safe_dump({"classes": classes}, sort_keys=False))
        _move(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(temporary: Path, folder: Path) -> None:
    try:
        os.rename(temporary, folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster, and its scenes are the same
            raise
