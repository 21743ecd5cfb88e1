"""The tests of a plugin see that plugin and files, and no other package that happens to be installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(autouse=True, scope="module")
def only_this_plugin(request: pytest.FixtureRequest) -> Iterator[None]:
    """Allow the plugin of the test's folder, and one-file plugins, in processes that a test starts too."""
    folder = request.path.relative_to(HERE).parts[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSLKIT_PLUGINS_ALLOW", f"{folder},*.py")
        yield
