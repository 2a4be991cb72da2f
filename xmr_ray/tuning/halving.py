"""Which trials go on: successive halving in the order of the trials, not of their arrival."""

from collections.abc import Sequence

import numpy as np

from xmr_ray.tuning.objective import Curve, area


def rungs(num_rounds: int, *, grace_rounds: int, reduction_factor: int) -> list[int]:
    """Numbers of finished rounds after which a trial is judged; after the last round there is nothing to save.

    >>> rungs(9, grace_rounds=2, reduction_factor=2), rungs(2, grace_rounds=2, reduction_factor=2)
    ([2, 4, 8], [])
    """
    found = []
    while grace_rounds < num_rounds:
        found.append(grace_rounds)
        grace_rounds *= reduction_factor
    return found


def goes_on(curve: Curve, earlier: Sequence[Curve], *, reduction_factor: int) -> bool:
    """Whether a trial is among the best of those before it that bought as many labels: one of `reduction_factor`, as ASHA decides.

    It is compared by the area under its curve up to the labels that it has bought; a trial that ended before that is not looked at.
    Unlike ASHA, `earlier` is no matter of timing: the caller gives the trials that had ended by rule when this one began.

    Source: [ASHA] section 3.

    >>> goes_on([(50, 0.4)], [[(50, 0.5)], [(50, 0.3)]], reduction_factor=2), goes_on([(50, 0.2)], [], reduction_factor=2)
    (True, True)
    """
    labels = curve[-1][0]
    others = [area(other, up_to=labels) for other in earlier if other and other[-1][0] >= labels]
    if not others:
        return True
    return area(curve) >= float(np.percentile(others, 100 * (1 - 1 / reduction_factor)))
