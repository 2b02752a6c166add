"""Which cells a scenario asks for and a run has no record of."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from bench.compare.match import label, varying
from bench.compare.side import Key, SideCell, identity
from bench.run.draft import draft_fields
from bench.scenario import Scenario

_IMAGES = ("content", "style")


def lacking_cells(
    scenario: Mapping[str, Any], environment: Mapping[str, Any], cells: Iterable[SideCell]
) -> dict[Key, str]:
    """Labels of the cells asked for that are not among ``cells``.

    Keys are identities without the images, which may be gone by now. Empty for a scenario that this
    version cannot read.
    """
    try:
        asked = Scenario.model_validate({k: v for k, v in scenario.items() if k != "images"})
    except ValidationError:
        return {}
    expected = asked.cells(
        str(environment.get("device", "")), weights_digest=lambda _: "", code_version=""
    )
    found = {_key(cell.identity) for cell in cells}
    identities = [identity(draft_fields(cell)) for cell in expected]
    also = varying(identities)
    return {_key(one): label(one, also) for one in identities if _key(one) not in found}


def _key(identity: Mapping[str, Any]) -> Key:
    return tuple(sorted(item for item in identity.items() if item[0] not in _IMAGES))
