"""Which images to label first, before there is any mask, by a pretrained encoder's maps.

Images of several kinds: one of each kind, by k-means (clusters as a cold start: arXiv 2402.02561). Images of one kind:
those that together show the most of what there is, since rare classes decide then. What that is worth is in
docs/evidence_labels.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from eln_kit import figures
from eln_kit.data import Item, as_read, open_dataset, read_image
from eln_kit.data.folder import UNLABELED
from eln_kit.faults import DataError, ParamsError
from eln_kit.figures.grid import LINES, canvas
from eln_kit.params import Params
from eln_kit.paths import resolve, write_whole, writing
from eln_kit.tools import embedding
from eln_kit.tools.exports.export import images_below
from eln_kit.tools.show import find_images

STARTS, MANY = 20, 10_000  # of k-means; images from which it goes by mini-batches
MOST_KINDS, SAMPLE = 12, 1000  # kinds looked for; images that they are looked for in
SHOWN = 12  # clusters on the sheet
WORDS, TIMES, LOOKED_AT = 32, 8, 400  # kinds of regions; how often, and in how many images, they are looked for
DISTINCT, NEARLY = 0.2, 0.9  # silhouette from which images are of several kinds; share of the highest one


@dataclass(frozen=True)
class Choice:
    """`chosen`: places of images, that with most images like it first; `vectors` `N d`, each of length 1."""

    items: list[Item]
    vectors: np.ndarray
    chosen: np.ndarray
    kinds: int

    @property
    def ids(self) -> list[str]:
        return [self.items[place].id for place in self.chosen]

    @cached_property
    def likeness(self) -> np.ndarray:
        """Of each image and each chosen one: cosine, `N n`."""
        return self.vectors @ self.vectors[self.chosen].T

    @cached_property
    def cluster(self) -> np.ndarray:
        """The number of the chosen image that each is most like, `N`."""
        return self.likeness.argmax(1)

    @property
    def sizes(self) -> np.ndarray:
        return np.bincount(self.cluster, minlength=len(self.chosen))

    @cached_property
    def farthest(self) -> list[int]:
        """For each chosen image the place of the one least like it, of those that it stands for."""
        own = np.where(self.cluster[:, None] == np.arange(len(self.chosen)), self.likeness, np.inf)
        return own.argmin(0).tolist()


def images_of(params: Params) -> list[Item]:
    """The training images, with masks or without; where a folder is no data set yet, all images in it.

    Raises:
        DataError: there are none.
    """
    data, root = params.data, resolve(params.data.root)
    if data.name != "folder":
        return open_dataset(data).train
    train, others = (root / "images" / part for part in ("train", UNLABELED))
    items = find_images(train) if any(images_below(train)) else []
    if any(images_below(others)):
        items += [Item(f"{UNLABELED}/{item.id}", item.image) for item in find_images(others)]
    return as_read(items or find_images(root), data)


def choose(params: Params, count: int) -> Choice:
    """`count` images to label first, one of each cluster; neither the order nor the names of files matter.

    Raises:
        ParamsError: the encoder has no pretrained weights.
        DataError: there are fewer images that can be read.
    """
    if params.model.encoder_weights == "none":
        raise ParamsError("model.encoder_weights = none: an untrained encoder tells no kinds apart; set it to imagenet")
    items, vectors = embedding.embed(images_of(params), params)
    if not 0 < count <= len(items) or len(items) < 2:
        raise DataError(f"--count {count}: there are {len(items)} images to choose from")
    order = np.lexsort(vectors.T)
    items, vectors = [items[place] for place in order], embedding.unit(vectors[order])
    if count > (distinct := len(np.unique(vectors, axis=0))):
        raise DataError(f"--count {count}: among {len(items)} images there are {distinct} different ones")
    kinds = kinds_of(vectors)
    chosen = one_of_each(vectors, count) if kinds > 1 else showing_most(what_is_seen(items, params), count)
    choice = Choice(items, vectors, chosen, kinds)
    return replace(choice, chosen=chosen[np.argsort(-choice.sizes, kind="stable")])


def one_of_each(vectors: np.ndarray, count: int) -> np.ndarray:
    """The place of the image nearest each centre of `count` clusters."""
    centres, cluster = clusters(vectors, count)
    distance = np.linalg.norm(vectors - centres[cluster], axis=1)
    members = [np.flatnonzero(cluster == each) for each in range(count)]
    return np.array([each[distance[each].argmin()] for each in members])


def what_is_seen(items: list[Item], params: Params) -> np.ndarray:
    """How many regions of each image are of each of `WORDS` kinds, by k-means on some images: int `N K`.

    k-means comes to other kinds from another start, so there are `TIMES` as many: what it draws matters less then.
    """
    step = -(-len(items) // LOOKED_AT)
    looked_at = [*embedding.regions(items[::step], params)]
    some = np.concatenate(looked_at)
    scale = make_pipeline(StandardScaler(), Normalizer()).fit(some)
    means = [KMeans(WORDS, n_init=1, random_state=start).fit(scale.transform(some)) for start in range(TIMES)]

    def count(regions: np.ndarray) -> np.ndarray:
        scaled = scale.transform(regions)
        return np.concatenate([np.bincount(each.predict(scaled), minlength=WORDS) for each in means])

    return np.stack([count(each) for each in (looked_at if step == 1 else embedding.regions(items, params))])


def showing_most(seen: np.ndarray, count: int) -> np.ndarray:
    """Places of `count` images that together show the most, by a greedy choice.

    They are worth the sum, over what is seen, of the square root of how often it is seen in them: more of the same is
    worth ever less. Args: seen int `N K`.
    """
    chosen: list[int] = []
    for _ in range(count):
        worth = np.sqrt(seen[chosen].sum(0) + seen).sum(1)
        worth[chosen] = -1
        chosen.append(int(worth.argmax()))
    return np.array(chosen)


def clusters(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres `count d` and each vector's cluster, by scikit-learn's k-means; of very many images in mini-batches."""
    kind = MiniBatchKMeans if len(vectors) > MANY else KMeans
    found = kind(count, n_init=STARTS, random_state=0).fit(vectors)
    if len(np.unique(found.labels_)) < count:  # mini-batches may leave a cluster empty
        found = KMeans(count, n_init=1, random_state=0).fit(vectors)
    return found.cluster_centers_, found.labels_


def kinds_of(vectors: np.ndarray) -> int:
    """How many kinds of images there are: the smallest number of clusters whose silhouette is nearly the highest."""
    scores, vectors = {}, vectors[:: -(-len(vectors) // SAMPLE)]
    for count in range(2, min(MOST_KINDS, len(vectors) - 1) + 1):
        _, label = clusters(vectors, count)
        if len(np.unique(label)) == count:
            scores[count] = silhouette_score(vectors, label)
    best = max(scores.values(), default=0.0)
    return next(count for count, score in scores.items() if score >= NEARLY * best) if best >= DISTINCT else 1


def write(choice: Choice, out: Path) -> Iterator[str]:
    """Write the list of ids, for `data.labeled_ids`, and beside it a sheet of what was chosen; what to say of it."""
    if out.suffix == ".png":
        raise ParamsError(f"--out {out}: is to be a list, such as ids.txt; the sheet is written beside it")
    with writing(out):
        write_whole(out, "\n".join(choice.ids) + "\n")
        sheet = figures.save(picture(choice), out.with_suffix(".png"))
    kinds = "one kind" if choice.kinds == 1 else f"{choice.kinds} kinds"
    yield f"{len(choice.items)} images, which seem to be of {kinds}"
    if len(choice.ids) < choice.kinds:
        yield f"{len(choice.ids)} are fewer than the kinds: label {choice.kinds}, or a kind stays without a label"
    if choice.kinds == 1:
        yield "one kind of image: these show the most of what is seen in them, rare things too"
    for item, size in zip((choice.items[place] for place in choice.chosen), choice.sizes, strict=True):
        yield f"{item.id}  stands for {size} images"
    yield f"{out}  for data.labeled_ids"
    yield f"{sheet}  to look at"


def picture(choice: Choice) -> Figure:
    """The images on the plane in which they differ most, the chosen ones marked; and of each cluster two images."""
    rows = min(len(choice.chosen), SHOWN)
    figure, axes = canvas(rows, 3, figsize=(9, 1.9 * rows + 1), width_ratios=(2, 1, 1))
    for axis in axes[1:, 0]:
        axis.remove()
    plane = figure.add_subplot(axes[0, 0].get_gridspec()[:, 0])
    axes[0, 0].remove()
    places = PCA(2, random_state=0).fit_transform(choice.vectors)
    for number, chosen in enumerate(choice.chosen):
        (x, y), color = places[choice.cluster == number].T, LINES[number % len(LINES)]
        plane.scatter(x, y, c=color, s=12, linewidths=0)
        plane.scatter(*places[[chosen]].T, c=color, s=90, edgecolors="black")  # type: ignore[misc]
    plane.set(xticks=[], yticks=[], title="images, by likeness; large: chosen")
    for row in range(rows):
        pair = {"chosen": choice.chosen[row], "least like it": choice.farthest[row]}
        for axis, (name, place) in zip(axes[row, 1:], pair.items(), strict=True):
            axis.imshow(read_image(choice.items[place]).permute(1, 2, 0).numpy())
            axis.set_axis_off()
            axis.set_title(f"{name}, one of {choice.sizes[row]}", fontsize=8, color=LINES[row % len(LINES)])
    return figure
