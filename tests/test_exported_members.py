"""The public names of the package: all there, documented, and loaded when they are first used."""

from pathlib import Path

import pytest

import animask

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", animask.__all__)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(animask, name).__doc__
    assert getattr(animask, name).__name__ == name


def test_all_names_are_listed_and_no_others() -> None:
    assert sorted(animask.__all__) == dir(animask) == sorted(animask.HOME)
    with pytest.raises(AttributeError, match="animat"):
        _ = animask.animat
