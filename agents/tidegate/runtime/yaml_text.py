"""YAML that a person wrote: read strictly, or refused in one line that says where. Nothing else reads such files."""

from pathlib import Path
from typing import Any

import yaml

MERGE = "tag:yaml.org,2002:merge"


class NotYaml(ValueError):
    """Text that is no YAML, or that says one thing twice."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, as YAML 1.2 does (3.2.1.1); PyYAML takes the last one without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:  # before what `<<` names is put among them: that may be said anew, and `<<` too
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                if (key.tag, key.value) in seen:
                    raise yaml.composer.ComposerError(None, None, f"{key.value} stands twice", key.start_mark)
                seen.add((key.tag, key.value))
        return node


def read_yaml(path: Path) -> Any:
    """Return what stands in a file, of whatever type. OSError, NotYaml."""
    return parse_yaml(path.read_bytes())


def parse_yaml(data: bytes) -> Any:
    """Return what UTF-8 text says, of whatever type. NotYaml.

    >>> parse_yaml(b"{max: 5, max: 9}")
    Traceback (most recent call last):
    tidegate.runtime.yaml_text.NotYaml: line 1: max stands twice
    """
    try:
        return yaml.load(data, _Loader)  # noqa: S506 - a safe one
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark is not None else ""
        raise NotYaml(where + " ".join(filter(None, (error.context, error.problem)))) from error
    except RecursionError as error:
        raise NotYaml("is nested too deep, or refers to itself") from error
    except (yaml.YAMLError, ValueError) as error:  # such as a date that is none
        raise NotYaml(" ".join(str(error).split())) from error
    except (AttributeError, LookupError, TypeError) as error:  # PyYAML's own, of a tag that does not fit what it stands before
        raise NotYaml("has a tag that does not fit, such as !!timestamp before what is no time") from error
