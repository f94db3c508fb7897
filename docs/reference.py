"""What the site takes from the code: tables of knobs, pages of commands and modules, equations as MathML."""

import io
import pkgutil
from contextlib import redirect_stdout, suppress
from unittest import mock

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

import eln_kit
from eln_kit import cli
from eln_kit.store.params_file import SECTIONS
from eln_kit.tools.knobs import allowed


def knobs() -> str:
    """A Markdown table for each section of `eln_kit/params.py`."""
    parts = ["# Knobs\n\nEvery knob of a params file. `eln-kit knobs` prints the same.\n"]
    for section, kind in SECTIONS.items():
        schemas = kind.model_json_schema()["properties"]
        rows = [
            f"| `{name}` | {_cell(knob.description)} | `{_default(knob.default)}` | {_cell(allowed(schemas[name]))} |"
            for name, knob in kind.model_fields.items()
        ]
        head = f"\n## `{section}`\n\n{kind.__doc__}\n\n| knob | meaning | default | values |\n|---|---|---|---|\n"
        parts.append(head + "\n".join(rows) + "\n")
    return "".join(parts)


def _default(value) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value) or '""'


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def commands() -> str:
    """The help of `eln-kit` and of each command, as the command prints it."""
    parts = [f"# Commands\n\n```text\n{_help()}```\n"]
    for function, _, _ in cli.COMMANDS:
        name = function.__name__.replace("_", "-")
        parts.append(f"\n## eln-kit {name}\n\n```text\n{_help(name)}```\n")
    return "".join(parts)


def _help(*command: str) -> str:
    printed = io.StringIO()
    with mock.patch.dict("os.environ", COLUMNS="100"), redirect_stdout(printed), suppress(SystemExit):
        cli.main([*command, "--help"])
    return printed.getvalue()


def api() -> dict[str, str]:
    """A page of autodoc for each part of the package: `{name: Markdown}`."""
    walked = [module.name for module in pkgutil.walk_packages(eln_kit.__path__, "eln_kit.")]
    parts = [name for name in walked if name.count(".") == 1 and name not in ("eln_kit.cli", "eln_kit.params")]
    pages = {}
    for part in ["eln_kit", *parts]:
        inside = [name for name in walked if name.startswith(f"{part}.")] if part != "eln_kit" else []
        pages[part] = f"# {part}\n\n{_autodoc(part)}" + "".join(f"\n## {name}\n\n{_autodoc(name)}" for name in inside)
    return pages


def _autodoc(module: str) -> str:
    return f"```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```\n"


def inline(writer, node) -> None:
    _write(writer, node, "inline", "span")


def block(writer, node) -> None:
    _write(writer, node, "block", "p")


def _write(writer, node, display: str, tag: str) -> None:
    writer.body.append(f"<{tag}>{convert(' '.join(node.astext().split()), display=display)}</{tag}>")
    raise SkipNode
