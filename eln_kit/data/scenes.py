"""Generated scenes: lit, textured shapes that overlap, for experiments without a download.

Eight classes in four pairs. The two of a pair have about the same colours, so that shape (disc or ring,
square or cross, triangle or star) or texture (striped or checkered, on any shape) has to decide.
"""

import colorsys

import numpy as np
from numpy.random import Generator
from PIL import Image

VERSION = 2  # raise it with any change that alters a pixel: the cache goes by it
CLASSES = ["background", "disc", "ring", "square", "cross", "triangle", "star", "striped", "checkered"]
HUES = [None, 0.02, 0.06, 0.30, 0.36, 0.58, 0.63, 0.82, 0.87]  # middle of a class's hues
HUE_SPREAD = 0.07
SAMPLES = 3  # a pixel is the mean of SAMPLES x SAMPLES points, and its label that of the middle one


def draw_scene(seed: int, split: str, index: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Scene `index` of a split: image (uint8, side x side x 3) and mask (uint8, side x side, 0..8).

    It depends on nothing but the arguments. Lengths in this module are in 64ths of the side.
    """
    rng = np.random.default_rng([seed, ("train", "val").index(split), index])
    points = side * SAMPLES
    canvas = _background(rng, points)
    labels = np.zeros((points, points), dtype=np.uint8)
    for x, y, radius in _places(rng, int(rng.integers(3, 7))):
        _add_object(rng, canvas, labels, x, y, radius)
    canvas *= _light(rng, points)[..., None]
    image = canvas.reshape(side, SAMPLES, side, SAMPLES, 3).mean((1, 3))
    image += rng.normal(0, 0.025, image.shape)
    middle = slice(SAMPLES // 2, None, SAMPLES)
    return (image.clip(0, 1) * 255).round().astype(np.uint8), labels[middle, middle]


def _places(rng: Generator, count: int) -> list[tuple[float, float, float]]:
    """Centres and radii; an object may cover part of another, not most of it."""
    places: list[tuple[float, float, float]] = []
    for _ in range(count):
        for _ in range(20):
            x, y, radius = *rng.uniform(5, 59, 2), rng.uniform(7, 15)
            if all(np.hypot(x - a, y - b) > 0.75 * (radius + r) for a, b, r in places):
                places.append((x, y, radius))
                break
    return places


def _add_object(rng: Generator, canvas: np.ndarray, labels: np.ndarray, x: float, y: float, radius: float) -> None:
    label = int(rng.integers(1, len(CLASSES)))
    kind = CLASSES[label]
    shape = rng.choice(["disc", "square", "triangle"]) if kind in ("striped", "checkered") else kind
    texture = kind if kind in ("striped", "checkered") else rng.choice(["plain", "grainy", "shaded"])
    angle = rng.uniform(0, 2 * np.pi)
    color = _color(rng, HUES[label])
    rows, columns, u, v = _local(len(labels), x + 1, y + 1, radius, angle)
    shadow = _inside(shape, u, v)
    canvas[rows, columns][shadow] *= 0.6
    rows, columns, u, v = _local(len(labels), x, y, radius, angle)
    inside = _inside(shape, u, v)
    shade = _texture(rng, texture, u * radius, v * radius)
    canvas[rows, columns][inside] = (shade[..., None] * color)[inside]
    labels[rows, columns][inside] = label


def _color(rng: Generator, hue: float | None = None) -> np.ndarray:
    hue = rng.uniform() if hue is None else hue + rng.normal(0, HUE_SPREAD)
    return np.array(colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.35, 0.9), rng.uniform(0.6, 1)), dtype=np.float32)


def _local(points: int, x: float, y: float, radius: float, angle: float) -> tuple[slice, slice, np.ndarray, np.ndarray]:
    """An object's window of the canvas, as two slices, and the window's points in the object's unit frame."""
    scale = points / 64
    reach = 1.3 * radius
    rows, columns = (slice(max(0, int((c - reach) * scale)), int((c + reach) * scale) + 1) for c in (y, x))
    dy = ((np.arange(points, dtype=np.float32)[rows] + 0.5) / scale - y)[:, None] / radius
    dx = ((np.arange(points, dtype=np.float32)[columns] + 0.5) / scale - x)[None, :] / radius
    return rows, columns, np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx


def _inside(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Which points of the unit frame a shape covers; the shapes have areas of 2 to 3."""
    if shape == "disc":
        return u**2 + v**2 < 0.95**2
    if shape == "ring":
        return abs(u**2 + v**2 - 0.62) < 0.38
    if shape == "square":
        return np.maximum(abs(u), abs(v)) < 0.82
    if shape == "cross":
        return (np.minimum(abs(u), abs(v)) < 0.33) & (np.maximum(abs(u), abs(v)) < 1.05)
    if shape == "triangle":
        return np.maximum(abs(u) * np.sqrt(3) + v, -2 * v) < 1.25
    fifth = np.pi / 5  # a star: fold the plane onto half a point, which one straight edge bounds
    radius, theta = np.hypot(u, v) / 1.28, abs((np.arctan2(v, u) + fifth) % (2 * fifth) - fifth)
    inner_x, inner_y = 0.42 * np.cos(fifth), 0.42 * np.sin(fifth)
    return radius * (np.cos(theta) * inner_y + np.sin(theta) * (1 - inner_x)) < inner_y


def _texture(rng: Generator, texture: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Brightness, about 0.4 to 1.1, of points given in 64ths of the side."""
    period = rng.uniform(5, 7.5)
    dark = rng.uniform(0.35, 0.6)
    if texture == "striped":
        return np.where(np.sin(2 * np.pi * u / period) > 0, 1, dark)
    if texture == "checkered":
        return np.where(np.sin(2 * np.pi * u / period) * np.sin(2 * np.pi * v / period) > 0, 1, dark)
    if texture == "grainy":
        return 0.85 + _smooth_noise(rng, u.shape, 9) * 0.22
    if texture == "shaded":
        return 0.85 + 0.2 * u / abs(u).max()
    return np.full_like(u, 0.9)


def _background(rng: Generator, points: int) -> np.ndarray:
    """A dull wall with stains, a faint pattern, and small bright scraps that are no objects."""
    wall = _color(rng) * 0.35 + rng.uniform(0.15, 0.4)
    canvas = (wall * (1 + 0.25 * _smooth_noise(rng, (points, points), 6)[..., None])).astype(np.float32)
    _, _, u, v = _local(points, 32, 32, 64, rng.uniform(0, np.pi))
    pattern = _texture(rng, rng.choice(["plain", "striped", "checkered"]), u * 64, v * 64)
    canvas *= 1 - 0.25 * (1 - pattern[..., None])
    for _ in range(rng.integers(8, 16)):
        x, y, length, width = *rng.uniform(0, 64, 2), rng.uniform(1, 5), rng.uniform(0.5, 1.3)
        rows, columns, u, v = _local(points, x, y, length, rng.uniform(0, np.pi))
        scrap = (abs(u) < 1) & (abs(v) < width / length)
        canvas[rows, columns][scrap] = _color(rng) * rng.uniform(0.5, 1)
    return canvas


def _light(rng: Generator, points: int) -> np.ndarray:
    """Brightness falls off across the scene, unevenly."""
    angle, fall = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.4)
    across = np.linspace(-1, 1, points, dtype=np.float32)
    slope = np.cos(angle) * across[None, :] + np.sin(angle) * across[:, None]
    return rng.uniform(0.75, 1.05) + fall * slope / 1.4 + 0.1 * _smooth_noise(rng, (points, points), 3)


def _smooth_noise(rng: Generator, shape: tuple[int, int], knots: int) -> np.ndarray:
    """Noise of about unit size between -1 and 1 with `knots` bumps along each side."""
    coarse = Image.fromarray(rng.uniform(-1, 1, (knots, knots)).astype(np.float32))
    return np.asarray(coarse.resize(shape[::-1], Image.Resampling.BICUBIC))
