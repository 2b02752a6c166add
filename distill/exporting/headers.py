"""The headers of a model's files, wherever its weights come from."""

from pathlib import Path

from distill.cascades import convert_published, own_files, published_files, weights_files
from distill.embedded import TEACHER_ENCODERS, embedded_file, embedded_headers, network_name
from distill.models import ModelSpec
from distill.registry import REGISTRY
from distill.weights import read_metadata


def source_headers(spec: ModelSpec, scratch: Path) -> dict[str, dict[str, str]]:
    """The header of each network, under the name of its file in this project's layout.

    What a source says is kept word for word. Where it says nothing, the compressor is ``unknown``.

    Args:
        spec: a model with trained weights.
        scratch: a folder to convert published weights in; files with those names may be left in it.
    """
    found = _embedded(spec) if spec.weights is None else _of_folder(spec, scratch)
    headers = {}
    for stage, pair in zip(spec.stages, own_files(scratch, spec.stages), strict=True):
        for role, path in zip(("encoder", "decoder"), pair, strict=True):
            headers[path.name] = found.get(path.name) or {
                "family": spec.family,
                "method": spec.method,
                "ratio": str(spec.ratio),
                "stage": str(stage),
                "role": role,
                **_unsaid(spec, role),
            }
    return headers


def _of_folder(spec: ModelSpec, scratch: Path) -> dict[str, dict[str, str]]:
    folder = Path(spec.weights or "")
    if published_files(folder):
        convert_published(folder, scratch)
        spec = spec._replace(weights=str(scratch))
    return {path.name: read_metadata(path) for pair in weights_files(spec) for path in pair}


def _embedded(spec: ModelSpec) -> dict[str, dict[str, str]]:
    headers = embedded_headers(spec)
    if headers is None:
        return {}
    source = {"source": f"embedded {embedded_file(spec)}"}
    return {
        path.name: source | headers[name].metadata()
        for stage, pair in zip(spec.stages, own_files(Path(), spec.stages), strict=True)
        for role, path in zip(("encoder", "decoder"), pair, strict=True)
        if (name := network_name(stage, role)) in headers
    }


def _unsaid(spec: ModelSpec, role: str) -> dict[str, str]:
    """What is known of a network of which no header tells."""
    if spec.weights is None and spec.ratio == 1 and role == "encoder":
        teacher = REGISTRY[TEACHER_ENCODERS[spec.family]]
        source = f"{teacher.name}: {teacher.about}; {teacher.licence}"
        return {"compressor": "teacher", "source": source}
    return {"compressor": "unknown"}
