"""A comparison as JUnit XML, for CI systems that show test results: a cell is a test case.

A regression is a failure; what is inconclusive or not comparable is skipped, with the reason.
"""

from xml.etree import ElementTree

from bench.compare.result import CellResult, Comparison
from bench.compare.text import VERDICT_WORDS, facts, headline, sentence

_SUITE = "bench compare"


def junit(comparison: Comparison) -> str:
    """The XML document."""
    verdicts = [cell.verdict for cell in comparison.cells]
    counts = {
        "tests": len(verdicts),
        "failures": verdicts.count("regression"),
        "errors": 0,
        "skipped": verdicts.count("inconclusive") + verdicts.count("not_comparable"),
    }
    totals = {name: str(count) for name, count in counts.items()}
    root = ElementTree.Element("testsuites", {"name": _SUITE, **totals})
    suite = ElementTree.SubElement(root, "testsuite", {"name": _SUITE, **totals, "time": "0"})
    properties = ElementTree.SubElement(suite, "properties")
    for name, text in [("coverage", comparison.coverage.text), *facts(comparison)]:
        ElementTree.SubElement(properties, "property", {"name": name, "value": _legal(text)})
    for cell in comparison.cells:
        _case(suite, cell)
    said = f"{comparison.coverage.text}\n{headline(comparison)}"
    ElementTree.SubElement(suite, "system-out").text = _legal(said)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _case(suite: ElementTree.Element, cell: CellResult) -> None:
    kind = str(cell.identity.get("kind", "benchmark"))
    attributes = {"classname": f"{_SUITE}.{kind}", "name": _legal(cell.label), "time": "0"}
    case = ElementTree.SubElement(suite, "testcase", attributes)
    said = [
        f"{VERDICT_WORDS[finding.verdict]}: {sentence(cell, finding)}" for finding in cell.findings
    ]
    grave = [finding for finding in cell.findings if finding.verdict == cell.verdict]
    message = _legal("; ".join(sentence(cell, finding) for finding in grave))
    if cell.verdict == "regression":
        failure = {"message": message, "type": grave[0].code}
        ElementTree.SubElement(case, "failure", failure).text = _legal("\n".join(said))
        return
    if cell.verdict in ("inconclusive", "not_comparable"):
        words = f"{VERDICT_WORDS[cell.verdict]}: {message}"
        ElementTree.SubElement(case, "skipped", {"message": words})
    ElementTree.SubElement(case, "system-out").text = _legal("\n".join(said))


def _legal(text: str) -> str:
    """Without the characters that XML 1.0 forbids."""
    return "".join(c if c in "\n\t" or c.isprintable() else "?" for c in text)
