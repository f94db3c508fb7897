"""Classes: dataset.yaml with their names, colours and what a mask's values mean; and colours where nobody says any."""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from eln_kit.data.items import NO_CLASS, VOID
from eln_kit.data.pictures import pack
from eln_kit.faults import DataError

VOID_COLOR = (190, 190, 190)
# Paul Tol's "muted" scheme, which colour-blind readers can tell apart; background's pale grey first.
_MUTED = bytes.fromhex("dddddd cc6677 332288 ddcc77 117733 88ccee 882255 44aa99 999933 aa4499")
MUTED = np.array(list(_MUTED), dtype=np.uint8).reshape(-1, 3)
KEYS = ("classes", "void", "mask_suffix", "masks", "groups")
ENTRY_KEYS = ("name", "color", "value", "values")
IN_COLOR = {"color": True, "colour": True, "index": False}


@dataclass(frozen=True)
class Classes:
    """What a file of classes says; what it leaves out is None.

    `colors` is uint8, C x 3, a palette's where `has_colors` is false. `values` are those of each class; `void` holds
    values or colours.
    """

    source: Path
    names: list[str]
    colors: np.ndarray
    has_colors: bool = False
    values: list[list[int]] | None = None
    void: list | None = None
    mask_suffix: str | None = None
    in_color: bool | None = None
    groups: str = ""

    def table(self, in_color: bool) -> np.ndarray | None:
        """`mask_values` of a data set with these classes; raises DataError where two of them have the same one."""
        if in_color:
            of_class = [[int(color)] for color in pack(self.colors)]
            grey = [[value] * 3 if isinstance(value, int) else value for value in self.void or []]
            return self._filled(of_class, [int(pack(np.array(color))) for color in grey], 2**24)
        taken = {value for values in self.values or [] for value in values}
        void = sorted({VOID} - taken) if self.void is None else self.void
        if any(isinstance(value, list) for value in void):
            raise DataError(f"{self.source}: void should be values, since the masks are read as values")
        if self.values is None and void == [VOID]:
            return None
        free = [value for value in range(256) if value not in void]
        return self._filled(self.values or [[value] for value in free[: len(self.names)]], void, 256)

    def _filled(self, of_class: list[list[int]], void: list[int], size: int) -> np.ndarray:
        if not len(self.names) <= min(len(of_class), NO_CLASS):
            raise DataError(f"{self.source}: too many classes to be told from void; list {NO_CLASS} at most")
        table = np.full(size, NO_CLASS, dtype=np.uint8)
        seen: dict[int, str] = {}
        for index, values in [*enumerate(of_class), (VOID, void)]:
            name = "void" if index == VOID else f"class {self.names[index]}"
            for value in values:
                if value in seen:
                    said = "color" if size > 256 else f"value {value}"
                    raise DataError(f"{self.source}: {name} has the same {said} as {seen[value]}; change one")
                seen[value], table[value] = name, index
        return table


def read_classes(file: Path) -> Classes:
    """YAML: a list of names or `{name, color: [r, g, b], value or values}`, alone or as `classes` beside other `KEYS`.

    Raises:
        DataError: names the file, and the class where one is at fault.
    """
    content = _content(file)
    entries = content.get("classes")
    if not isinstance(entries, list) or not 2 <= len(entries) <= VOID:
        raise DataError(f"{file}: should be `classes:` and a list of 2 to {VOID} names")
    entries = [entry if isinstance(entry, dict) else {"name": entry} for entry in entries]
    names = [entry.get("name") for entry in entries]
    for name in names:
        if not isinstance(name, str) or not name or names.count(name) > 1:
            raise DataError(f"{file}: class {name!r} should be a name that no other class has")
    _refuse_unknown(content, KEYS, str(file))
    colors = palette(len(names)).copy()
    for index, entry in enumerate(entries):
        _refuse_unknown(entry, ENTRY_KEYS, f"{file}: class {names[index]}")
        if "color" in entry:
            colors[index] = _numbers(entry["color"], f"{file}: class {names[index]}: color", 3)
    void = [_value_or_color(value, file) for value in _list(content["void"])] if "void" in content else None
    has_colors = all("color" in entry for entry in entries)
    suffix, kind = (content.get(key) for key in ("mask_suffix", "masks"))
    if not isinstance(suffix, str | None) or str(kind) not in [*IN_COLOR, "None"]:
        raise DataError(f"{file}: mask_suffix should be text such as _mask, and masks color or index")
    in_color = kind and IN_COLOR[kind]
    return Classes(
        file, names, colors, has_colors, _values(entries, file), void, suffix, in_color, _groups(content, file)
    )


def _content(file: Path) -> dict:
    """The keys of the file that are not empty."""
    try:
        content = yaml.load(file.read_bytes(), yaml.BaseLoader)  # all text, so that a class may be called `no` or `1`
    except FileNotFoundError:
        raise DataError(f"{file}: no such file of classes; correct data.classes") from None
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{file}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    content = content if isinstance(content, dict) else {"classes": content}
    return {key: value for key, value in content.items() if value != ""}


def _values(entries: list[dict], file: Path) -> list[list[int]] | None:
    """The values of each class, or None where no class has any."""
    said = [[*_list(entry.get("value", [])), *_list(entry.get("values", []))] for entry in entries]
    if not any(said):
        return None
    if not all(said):
        raise DataError(f"{file}: either every class should have a `value`, or none")
    return [[_number(value, file) for value in values] for values in said]


def _groups(content: dict, file: Path) -> str:
    groups = content.get("groups", "")
    with contextlib.suppress(re.error, TypeError):
        re.compile(groups)
        return groups
    raise DataError(f"{file}: groups should be `folder`, or a pattern for the start of an id such as '[^_]+'")


def _value_or_color(value: object, file: Path) -> int | list[int]:
    return _numbers(value, f"{file}: void", 3) if isinstance(value, list) else _number(value, file)


def _refuse_unknown(mapping: dict, keys: tuple[str, ...], source: str) -> None:
    if unknown := [key for key in mapping if key not in keys]:
        raise DataError(f"{source}: {unknown[0]} is not known here; write {', '.join(keys)}")


def _list(values: object) -> list:
    return values if isinstance(values, list) else [values]


def _number(value: object, file: Path) -> int:
    return _numbers([value], f"{file}: value {value}", 1)[0]


def _numbers(values: Any, source: str, count: int) -> list[int]:
    what = "three whole numbers from 0 to 255, such as [128, 64, 0]" if count == 3 else "a whole number from 0 to 255"
    try:
        numbers = [int(value) for value in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or not all(0 <= number <= 255 for number in numbers):
        raise DataError(f"{source} should be {what}")
    return numbers


def palette(count: int) -> np.ndarray:
    """`count` different colours, uint8, count x 3; safe for the colour-blind up to ten of them."""
    return MUTED[:count] if count <= len(MUTED) else bit_colors(count)


def bit_colors(count: int) -> np.ndarray:
    """Pascal VOC's colours, uint8, count x 3: bits 0, 1, 2 of an index are the top ones of R, G, B."""
    index = np.arange(count)[:, None] >> np.arange(0, 8, 3)  # count x 3 groups of bits, lowest first
    bits = (index[:, :, None] >> np.arange(3)) & 1  # count x groups x RGB
    return (bits << np.array([7, 6, 5])[:, None]).sum(1).astype(np.uint8)


def in_palette(mask: np.ndarray, colors: np.ndarray) -> Image.Image:
    """A mask `H W` as a palette image: the classes' colours, uint8 `C 3`, to look at, class indices to read."""
    table = np.zeros((VOID + 1, 3), dtype=np.uint8)
    table[: len(colors)], table[VOID] = colors, VOID_COLOR
    picture = Image.fromarray(mask.astype(np.uint8))
    picture.putpalette(table.ravel().tolist())
    return picture
