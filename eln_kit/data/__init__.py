"""Data sets, their labels, and which of them a run may see."""

from eln_kit.data.catalog import as_read, depth_of, describe_classes, open_dataset
from eln_kit.data.items import VOID, DataSet, Item, groups_of, read_image, read_mask, spread
from eln_kit.data.shares import class_weights, largest_shares
from eln_kit.data.splits import Split, deciding, lists_at_hand, load_split, make_split, save_split

__all__ = [
    "VOID", "DataSet", "Item", "Split", "as_read", "class_weights", "deciding", "depth_of", "describe_classes",
    "groups_of", "largest_shares", "lists_at_hand", "load_split", "make_split", "open_dataset", "read_image",
    "read_mask", "save_split", "spread",
]  # fmt: skip
