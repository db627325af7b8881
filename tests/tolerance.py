"""How close is close: the tolerances of a comparison, to be spread over its arguments."""

from typing import TypedDict


class Tolerance(TypedDict):
    """`torch.testing.assert_close(found, expected, **tolerance)`, and numpy's alike."""

    rtol: float
    atol: float
