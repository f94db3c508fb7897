"""Images as vectors: what a pretrained encoder says of them before anything is trained. Each is computed once."""

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch.nn.functional import adaptive_avg_pool2d
from torchvision.transforms.v2.functional import resize
from tqdm import tqdm

from eln_kit.audience import person_watches
from eln_kit.data import Item, read_image
from eln_kit.device import device
from eln_kit.faults import DataError
from eln_kit.models import backbone
from eln_kit.models.encoder import Encoder
from eln_kit.params import Params
from eln_kit.paths import resolve, write_whole

SIDE = 224  # pixels of the square that each image is brought to
GRID = 7  # regions by so many
SAVED = 50  # images between two writes, or a tenth of all that are known, so that a stopped command goes on


def embed(items: list[Item], params: Params) -> tuple[list[Item], np.ndarray]:
    """The items that can be read, and for each the means of the last two maps of `model.encoder`: float32 `N d`.

    They are kept in the user's cache by path, size and time of a file, and how it is read; a broken image is told and
    left out.

    Raises:
        DataError: none can be read.
    """
    file = _cache(params)
    known, fresh = _load(file), 0
    keys = [f"{_key(item.image)}|{item.depth}|{item.bands}" for item in items]
    maps_of = None
    missing = [pair for pair in zip(items, keys, strict=True) if pair[1] not in known]
    for item, key in tqdm(missing, "embedding", unit="image", disable=not person_watches()):
        try:
            image = read_image(item)
        except DataError as error:
            print(f"left out: {error}")
            continue
        maps_of = maps_of or _encoder(params)
        known[key] = torch.cat([each.mean((1, 2)) for each in maps_of(image)]).cpu().numpy().astype(np.float16)
        fresh += 1
        if fresh >= max(SAVED, len(known) // 10):
            _save(file, known)
            fresh = 0
    if fresh:
        _save(file, known)
    good = [(item, known[key]) for item, key in zip(items, keys, strict=True) if key in known]
    if not good:
        raise DataError("none of the images can be read")
    return [item for item, _ in good], np.array([vector for _, vector in good], dtype=np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Each component with mean 0 and deviation 1 over the images, each image's vector of length 1."""
    centred = (vectors - vectors.mean(0)) / np.maximum(vectors.std(0), 1e-6)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)


def regions(items: list[Item], params: Params) -> Iterator[np.ndarray]:
    """Of each item the last map of `model.encoder` but one, as means of `GRID` x `GRID` regions: float32 `R c`."""
    maps_of = _encoder(params)
    for item in tqdm(items, "regions", unit="image", disable=not person_watches()):
        yield adaptive_avg_pool2d(maps_of(read_image(item))[0], GRID).flatten(1).T.cpu().numpy()


def _encoder(params: Params) -> Callable[[torch.Tensor], list[torch.Tensor]]:
    """The last two maps `c h w` of an image uint8 `3 H W`."""
    encoder = Encoder(params.model.encoder, params.model.encoder_weights).to(device()).eval()
    mean, std = (torch.tensor(each, device=device()).view(1, 3, 1, 1) for each in (encoder.mean, encoder.std))

    @torch.no_grad()
    def maps_of(image: torch.Tensor) -> list[torch.Tensor]:
        small = resize(image[None].to(device()), [SIDE, SIDE], antialias=True).float() / 255
        maps = encoder.network((small - mean) / std)[-2:]
        if backbone.gives_channels_last(encoder.network):
            maps = [each.permute(0, 3, 1, 2) for each in maps]
        return [each[0] for each in maps]

    return maps_of


def _cache(params: Params) -> Path:
    model = params.model
    weights = resolve(model.encoder_weights)
    said = _key(weights) if weights.is_file() else model.encoder_weights
    name = hashlib.sha256(f"{model.encoder} {said} {SIDE}".encode()).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("eln_kit"), "embeddings", f"{name}.npz")


def _key(file: Path) -> str:
    stat = file.stat()
    return f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"


def _load(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file) as kept:
            return dict(zip(kept["keys"].tolist(), kept["vectors"], strict=True))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # none yet, or broken
        return {}


def _save(file: Path, known: dict[str, np.ndarray]) -> None:
    content = io.BytesIO()
    np.savez(content, keys=np.array([*known]), vectors=np.array([*known.values()]))
    try:
        write_whole(file, content.getvalue())
    except OSError:  # a cache that cannot be written is none
        return
