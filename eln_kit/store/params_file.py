"""Params from a YAML file or from a notebook's sections, with single knobs changed on top.

`load` reads a file, `build` takes the sections as a notebook holds them. Both take knobs as text, such as
`"supervised.steps=100"`, several in one text being quoted as in a shell, and both raise `ParamsError` with one readable
line a fault.
"""

import difflib
import re
import reprlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from eln_kit.faults import ParamsError
from eln_kit.params import Params, Section
from eln_kit.paths import locate, resolve, text_of, write_whole

SECTIONS: dict[str, type[Section]] = {name: type(section) for name, section in Params()}
Knobs = str | Sequence[str] | dict


class _Yaml(yaml.SafeLoader):
    """YAML 1.1 reads 1e-4 as text and 24:00:00 as 86400; this reads them as the number and the text they look like.

    A knob that is given twice is an error. So are aliases, with which a short file can stand for an endless one.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases (*{self.peek_event().anchor}) are not read; write the value itself")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.YAMLError(f"{name} is given twice")
        return super().construct_mapping(node, deep)


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)
for digit in "0123456789":
    _Yaml.yaml_implicit_resolvers[digit].insert(0, ("tag:yaml.org,2002:str", re.compile(r"\d+(:\d+)+$")))


def load(file: str | Path, knobs: Knobs = ()) -> Params:
    """Read a params file and change single knobs: `load("params/shapes.yaml", ["run.seed=1"])`.

    One that lies in a run with stages means that run, wherever it was before.

    Raises:
        ParamsError: names the file, the knob and, for a knob that does not exist, the nearest valid name.
    """
    sections, given, path = read(file), _parse_knobs(knobs), locate(file).resolve()
    params = build(sections, given, source=str(file))
    in_run = path.name == "params.yaml" and any(path.parent.glob("*/checkpoint*.pt"))
    if in_run and "run.folder" not in given and resolve(params.run.folder) != path.parent:
        return build(sections, given | {"run.folder": str(path.parent)}, source=str(file))
    return params


def read(file: str | Path) -> dict:
    """The mapping in a YAML file, whatever it means; ParamsError names the file and what is wrong with it."""
    try:
        content = yaml.load(text_of(locate(file)), _Yaml)
    except FileNotFoundError:
        raise ParamsError(f"{file}: no such params file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{file}: cannot be read: {error}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ParamsError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    return content or {}


def build(sections: dict, knobs: Knobs = (), source: str = "parameters") -> Params:
    """Check sections (`{"data": {...}, ...}`) and apply knobs; `source` is named in errors."""
    if not isinstance(sections, dict) or not all(isinstance(s, dict) for s in sections.values()):
        raise ParamsError(f"{source}: should be sections ({', '.join(Params.model_fields)}), each of knob: value")
    sections = {str(name): dict(section) for name, section in sections.items()}
    for knob, value in _parse_knobs(knobs).items():
        section, dot, name = knob.partition(".")
        if not dot:
            raise ParamsError(f"{knob}: write section.knob=value{_nearest(knob)}")
        sections.setdefault(section, {})[name] = value
    try:
        return Params(**sections)
    except ValidationError as error:
        faults = {fault["loc"][:2]: _explain(fault, source) for fault in reversed(error.errors())}  # one a knob
        raise ParamsError("\n".join(reversed(faults.values()))) from None


def save(params: Params, file: Path) -> None:
    """Write every knob, so that `load` gives the same params."""
    write_whole(file, yaml.safe_dump(params.model_dump(), sort_keys=False))


def knob_names() -> list[str]:
    """All knobs as `section.knob`."""
    return [f"{section}.{knob}" for section, kind in SECTIONS.items() for knob in kind.model_fields]


def _parse_knobs(knobs: Knobs) -> dict:
    if isinstance(knobs, dict):
        return knobs
    try:
        texts = shlex.split(knobs) if isinstance(knobs, str) else knobs
    except ValueError as error:
        raise ParamsError(f"knobs = {knobs!r}: {error}; close the quotes") from None
    parsed: dict = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise ParamsError(f"{text!r}: write section.knob=value, such as supervised.steps=100")
        try:
            is_text = _kind(name) is str and value[:1] not in ("'", '"')  # no YAML: `#`, `no` and nothing are text
            parsed[name] = value if is_text else yaml.load(value, _Yaml)
        except (yaml.YAMLError, RecursionError, ValueError):
            raise ParamsError(f"{text!r}: {value!r} is not a value") from None
    return parsed


def _kind(name: str) -> Any:
    section, _, knob = name.partition(".")
    field = SECTIONS[section].model_fields.get(knob) if section in SECTIONS else None
    return field and field.annotation


def _explain(fault: dict, source: str) -> str:
    knob = ".".join(str(part) for part in fault["loc"][:2])
    if fault["type"] == "extra_forbidden":
        return f"{source}: there is no knob {knob}{_nearest(knob)}"
    given = f"{knob} = {reprlib.repr(fault['input'])}: " if knob else ""  # none: it is of several sections
    return f"{source}: {given}{message_of(fault)}"


def message_of(fault: Any) -> str:
    """What pydantic says of a value."""
    return fault["msg"].removeprefix("Value error, ").removeprefix("Input ")


def _nearest(knob: str) -> str:
    names = [*knob_names(), *Params.model_fields]
    by_last_part = {name.rpartition(".")[2]: name for name in names}
    near = difflib.get_close_matches(knob, names, 1, 0.6)
    near = near or [by_last_part[n] for n in difflib.get_close_matches(knob.rpartition(".")[2], by_last_part, 1, 0.6)]
    return f"; did you mean {near[0]}?" if near else f"; the sections are {', '.join(Params.model_fields)}"
