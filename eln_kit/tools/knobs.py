"""Every knob in words, for `eln-kit knobs`: its default, the values it may have, and what it does."""

from typing import Any

from eln_kit.store.params_file import SECTIONS

TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true | false", "null": "null"}


def describe() -> str:
    """Two lines a knob: `name = default    (values)`, and its meaning."""
    lines = []
    for section, kind in SECTIONS.items():
        lines.append(f"\n{section}: {(kind.__doc__ or '').strip()}")
        schemas = kind.model_json_schema()["properties"]
        for name, knob in kind.model_fields.items():
            default = "null" if knob.default is None else knob.default
            lines += [f"  {name} = {default}".ljust(44) + f"({allowed(schemas[name])})", f"      {knob.description}"]
    return "\n".join(lines).lstrip()


def allowed(schema: dict[str, Any]) -> str:
    """The values of a JSON schema: `eln | none`, `0 to 1`, `whole number from 1 on`, `2 x (number)`."""
    if "anyOf" in schema:
        return " or ".join(map(allowed, schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(schema["enum"])
    if "const" in schema:
        return schema["const"]
    if schema["type"] == "array":
        count = schema.get("minItems")
        times = f"{count} x " if count and count == schema.get("maxItems") else "list of "
        return f"{times}({allowed(schema['items'])})"
    kind, above = TYPES[schema["type"]], "above " if "exclusiveMinimum" in schema else ""
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    if low is None:
        return kind
    return f"{kind}, {above}{low} to {high}" if high is not None else f"{kind}, {above or 'from '}{low}"
