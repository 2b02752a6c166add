"""Plain YAML that :func:`bench.scenario.yaml_lines.load_yaml` reads as the same values."""

import yaml

from bench.scenario.yaml_lines import plain_scalar


class _Dumper(yaml.SafeDumper):
    """Quotes what PyYAML, which goes by YAML 1.1, would leave bare and a reader of 1.2 not."""

    def ignore_aliases(self, data: object) -> bool:
        """Write a value out wherever it stands: aliases are not read."""
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # In double quotes alone what does not print is written as an escape.
    bare = text.isprintable() and plain_scalar(text) == text
    style = None if bare else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def dump_yaml(value: object) -> str:
    """The text of one document: mappings in their order, lists of plain values on one line."""
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        default_flow_style=None,
    )
    return text
