"""Every file of a data set, read once: what is wrong is known before training starts."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tqdm.auto import tqdm

from eln_kit.audience import person_watches
from eln_kit.data.items import VOID, DataSet, Item, read_image, read_mask
from eln_kit.faults import DataError


def read_everything(dataset: DataSet) -> set[Item]:
    """The items whose mask is void everywhere.

    Raises:
        DataError: a line for each file that cannot be used.
    """
    items = [*dataset.train, *dataset.val]
    with ThreadPoolExecutor() as pool:
        looks = pool.map(lambda item: list(_look(item, dataset)), items)
        looked = list(tqdm(looks, "reading", len(items), unit="image", disable=not person_watches()))
    if faults := [found for each in looked for found in each if isinstance(found, str)]:
        raise DataError("\n".join(faults))
    return {item for item, each in zip(items, looked, strict=True) if False in each}


def refuse_void(labeled: list[Item], void: set[Item]) -> None:
    """Raises DataError when there is no labelled pixel to learn from; `void` is from `read_everything`."""
    if void.issuperset(labeled):
        raise DataError(f"{labeled[0].mask}: all pixels of this and all other labelled images are void; mend the masks")


def _look(item: Item, dataset: DataSet) -> Iterator[str | bool]:
    """What is wrong with image and mask, and whether any pixel of the mask is not void."""
    try:
        read_image(item)
    except DataError as error:
        yield str(error)
        return  # a mask is held against its image
    try:
        if item.mask is not None:
            yield bool((read_mask(item, dataset) != VOID).any())
    except DataError as error:
        yield str(error)
