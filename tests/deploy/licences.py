"""Whether what is shipped may be shipped under Apache-2.0: the licences of an environment's packages, as they name them.

Run by the interpreter of that environment, which needs nothing else: ``build/runtime/bin/python tests/deploy/licences.py``.
"""

import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions

ALLOWED = re.compile(
    r"(The )?MIT(-0)?( License)?|0?BSD([- ][23]-Clause)?( License)?|3-Clause BSD License"
    r"|Apache(-2\.0| 2(\.0)?| License,? Version 2\.0| Software License)|ISC|PSF-2\.0|Python Software Foundation License"
    r"|Zlib|CC0-1\.0|MPL-2\.0|Mozilla Public License 2\.0|Repoze Public License"
)
"""Permissive ones, and MPL 2.0, which asks for nothing but the sources of its own files. What is not here is not allowed."""


def licences(shipped: Iterable[Distribution]) -> dict[str, list[str]]:
    """Package to what it says of its licence: the expression, else the classifiers, else the first line of its own text."""
    found = {}
    for one in shipped:
        told = one.metadata
        classifiers = [line.rpartition(" :: ")[2] for line in told.get_all("Classifier") or () if line.startswith("License ::")]
        text = (told.get("License") or "none").strip().splitlines()[0].strip()
        expression = told.get("License-Expression")
        found[told["Name"].lower()] = [expression] if expression else classifiers or [text]
    return found


def forbidden(shipped: Iterable[Distribution]) -> dict[str, list[str]]:
    """Packages that say nothing of their licence that is known to be allowed."""
    told = {name: [one for one in found if not allowed(one)] for name, found in licences(shipped).items()}
    return {name: wrong for name, wrong in told.items() if wrong}


def allowed(licence: str) -> bool:
    """Whether of everything that AND joins one alternative is allowed. Nesting is not looked at, which only makes it stricter."""
    named = licence.replace("(MPL 2.0)", "").replace("(", "").replace(")", "")
    return all(any(ALLOWED.fullmatch(one.strip()) for one in part.split(" OR ")) for part in named.split(" AND "))


if __name__ == "__main__":
    for package, said in sorted(licences(distributions()).items()):
        print(f"{package}: {', '.join(said)}")  # noqa: T201
    wrong = forbidden(distributions())
    for package, said in wrong.items():
        print(f"{package} must not be shipped under Apache-2.0: {', '.join(said)}", file=sys.stderr)  # noqa: T201
    sys.exit(1 if wrong else 0)
