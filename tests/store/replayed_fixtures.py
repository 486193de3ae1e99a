"""The fixtures of tests on the replayed run: a plugin, named in `pytest_plugins`."""

import shutil

import pytest
from replayed import go


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run; to be read only."""
    path = tmp_path_factory.mktemp("whole") / "run"
    go(path)
    return path


@pytest.fixture
def run(whole, tmp_path):
    """A copy of it."""
    return shutil.copytree(whole, tmp_path / "run")
