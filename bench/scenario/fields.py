"""The types of a scenario's keys for pydantic: reader, writer and JSON Schema in one place each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from bench.cells import Execution, Precision
from bench.quality.catalogue import metric_names
from bench.scenario.formats import format_bytes, format_fraction, format_seconds
from bench.scenario.values import (
    ALEXNETS,
    BACKBONES,
    Value,
    read_alpha,
    read_backbone,
    read_bytes,
    read_choice,
    read_device,
    read_energy,
    read_fraction,
    read_list,
    read_model,
    read_name,
    read_seconds,
    read_size,
    read_switch,
    read_whole,
)
from bench.units import Size
from distill.registry import REGISTRY

SIZE_PATTERN = r"[0-9]+x[0-9]+|[0-9]+(\.[0-9]+)?\s*MP"
BYTES_PATTERN = r"[0-9]+(\.[0-9]+)?\s*([KMGT]i?)?B"
SECONDS_PATTERN = r"[0-9]+(\.[0-9]+)?\s*(ms|s|min|h)"
PERCENT_PATTERN = r"[0-9]+(\.[0-9]+)?\s*%"


def listed(item: dict[str, Any]) -> WithJsonSchema:
    """JSON Schema of one ``item`` or a list of them."""
    several = {"type": "array", "items": item, "minItems": 1, "uniqueItems": True}
    return WithJsonSchema({"anyOf": [item, several]})


def pattern(regex: str, *examples: str) -> dict[str, Any]:
    """JSON Schema of a text that ``regex`` matches as a whole."""
    return {"type": "string", "pattern": f"^({regex})$"} | (
        {"examples": list(examples)} if examples else {}
    )


def key(default: Any, description: str) -> Any:
    """A key with a default written as in a file, which is read like any value."""
    return Field(default, validate_default=True, description=description)


def folder_of(info: ValidationInfo) -> Path:
    """The scenario's folder, or the working directory for a scenario without a file."""
    return Path((info.context or {}).get("folder", "."))


def report_of(info: ValidationInfo) -> Callable[[str], object]:
    """Who is told of what is worth knowing and no problem; nobody by default."""
    found: Callable[[str], object] = (info.context or {}).get("report", lambda _: None)
    return found


_NULL = {"type": "null"}
_BYTES = pattern(BYTES_PATTERN, "12GB", "512MiB")
_SECONDS = pattern(SECONDS_PATTERN, "120s", "22min")
_SIZE = pattern(SIZE_PATTERN, "3840x2160", "12.5MP")
_MODEL = {"type": "string", "examples": ["wct-vgg16-16x", "adain-vgg19-4x:WEIGHTS_FOLDER"]}
EXECUTIONS: tuple[str, ...] = get_args(Execution)
PRECISIONS: tuple[str, ...] = get_args(Precision)


def _choices(options: Sequence[str]) -> dict[str, Any]:
    return {"type": "string", "enum": list(options)}


def _optional(read: Callable[[object], Value]) -> Callable[[object], Value | None]:
    return lambda value: None if value is None else read(value)


def _write_cap(cap: int | None) -> str | None:
    return None if cap is None else format_bytes(cap)


@dataclass(frozen=True)
class Whole:
    """Marks a field as a whole number from ``low`` to ``high``."""

    low: int
    high: int

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(read_whole(self.low, self.high))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


NameField = Annotated[
    str,
    PlainValidator(read_name),
    WithJsonSchema(pattern("[A-Za-z0-9][A-Za-z0-9_-]{0,63}", "ultrares")),
]
DeviceField = Annotated[
    str,
    PlainValidator(read_device),
    WithJsonSchema(pattern(r"auto|cpu|cuda(:[0-9]{1,3})?", "auto", "cuda:0")),
]
NetworkField = Annotated[
    str, PlainValidator(read_choice(tuple(REGISTRY))), WithJsonSchema(_choices(tuple(REGISTRY)))
]
BackboneField = Annotated[
    str,
    PlainValidator(lambda value, info: read_backbone(value, folder_of(info))),
    WithJsonSchema({"type": "string", "minLength": 1, "examples": list(BACKBONES)}),
]
AlexNetField = Annotated[
    str,
    PlainValidator(lambda value, info: read_backbone(value, folder_of(info), words=ALEXNETS)),
    WithJsonSchema({"type": "string", "minLength": 1, "examples": list(ALEXNETS)}),
]
SizeField = Annotated[Size, PlainValidator(read_size), PlainSerializer(str), WithJsonSchema(_SIZE)]
SecondsField = Annotated[
    float,
    PlainValidator(read_seconds),
    PlainSerializer(format_seconds),
    WithJsonSchema(_SECONDS),
]
OptionalSecondsField = Annotated[
    float | None,
    PlainValidator(_optional(read_seconds)),
    PlainSerializer(lambda value: None if value is None else format_seconds(value)),
    WithJsonSchema({"anyOf": [_SECONDS, _NULL]}),
]
FractionField = Annotated[
    float,
    PlainValidator(read_fraction),
    PlainSerializer(format_fraction),
    WithJsonSchema(
        {
            "anyOf": [
                pattern(PERCENT_PATTERN, "2%"),
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            ]
        }
    ),
]
SwitchField = Annotated[bool, PlainValidator(read_switch), WithJsonSchema({"type": "boolean"})]
EnergyField = Annotated[
    Literal["auto", "off"],
    PlainValidator(read_energy),
    WithJsonSchema({"enum": ["auto", "off", False]}),
]
SizesField = Annotated[
    tuple[Size, ...],
    PlainValidator(lambda value: read_list(value, read_size)),
    PlainSerializer(lambda sizes: [str(size) for size in sizes]),
    listed(_SIZE),
]
CapsField = Annotated[
    tuple[int | None, ...],
    PlainValidator(lambda value: read_list(value, _optional(read_bytes), _write_cap)),
    PlainSerializer(lambda caps: [_write_cap(cap) for cap in caps]),
    listed({"anyOf": [_BYTES, _NULL]}),
]
AlphasField = Annotated[
    tuple[float, ...],
    PlainValidator(lambda value: read_list(value, read_alpha)),
    PlainSerializer(list),
    listed({"type": "number", "minimum": 0, "maximum": 1}),
]
ExecutionsField = Annotated[
    tuple[Execution, ...],
    PlainValidator(lambda value: read_list(value, read_choice(EXECUTIONS))),
    PlainSerializer(list),
    listed(_choices(EXECUTIONS)),
]
PrecisionsField = Annotated[
    tuple[Precision, ...],
    PlainValidator(lambda value: read_list(value, read_choice(PRECISIONS))),
    PlainSerializer(list),
    listed(_choices(PRECISIONS)),
]
MetricsField = Annotated[
    tuple[str, ...],
    PlainValidator(lambda value: read_list(value, read_choice(metric_names()))),
    PlainSerializer(list),
    listed(_choices(metric_names())),
]
OptionalModelField = Annotated[
    str | None,
    PlainValidator(
        lambda value, info: None if value is None else read_model(value, folder_of(info))
    ),
    WithJsonSchema({"anyOf": [_MODEL, _NULL]}),
]
ModelsField = Annotated[
    tuple[str, ...],
    PlainValidator(
        lambda value, info: read_list(value, lambda item: read_model(item, folder_of(info)))
    ),
    PlainSerializer(list),
    listed(_MODEL),
]
