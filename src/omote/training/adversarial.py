"""Losses of networks that learn against a critic."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def hinge_critic(real: Tensor, made: Tensor) -> Tensor:
    """Mean max(0, 1 - real) + mean max(0, 1 + made), a scalar (arXiv 1705.02894).

    Args:
        real: what the critic says of real pictures, any shape.
        made: of made ones.
    """
    return F.relu(1 - real.float()).mean() + F.relu(1 + made.float()).mean()


def hinge_maker(made: Tensor) -> Tensor:
    """The other side of `hinge_critic`: mean of -made, a scalar."""
    return -made.float().mean()


def feature_matching(made: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Sum over a critic's blocks of the mean absolute difference of what they make (arXiv 1711.11585), a scalar.

    Args:
        made: of the made picture; the gradient flows to these.
        real: of the real one.
    """
    terms = [(m.float() - r.detach().float()).abs().mean() for m, r in zip(made, real, strict=True)]
    return torch.stack(terms).sum()
