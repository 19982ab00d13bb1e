"""Tests that bad input is refused."""

from collections.abc import Callable
from typing import Any

import pytest


def refuses(call: Callable[..., Any], *cases: tuple[Any, ...]) -> Callable[..., None]:
    """A test that each case, arguments or one dict of options, ends in a ValueError with the text that comes last."""

    @pytest.mark.parametrize("case", cases, ids=[case[-1] for case in cases])
    def test(case):
        *given, message = case
        with pytest.raises(ValueError, match=message):
            call(**given[0]) if isinstance(given[0], dict) else call(*given)

    return test
