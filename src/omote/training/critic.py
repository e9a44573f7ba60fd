"""The opponent in an adversarial training: a second network with an optimiser of its own."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Adversarial(Protocol):
    """A task (`omote.training.engine.Task`) whose results a critic judges, which learns beside the network.

    `Task.loss` uses ``critic`` as it is; the gradients that this leaves in it are dropped.
    """

    @property
    def critic(self) -> nn.Module | None:
        """The critic; None for a training without one."""

    def critic_loss(self, critic: nn.Module, step: int) -> dict[str, Tensor]:
        """Scalars by name, among them "critic", which is made small, of what the last `Task.loss` made.

        Empty where the critic rests in this step.

        Args:
            critic: the critic, over several processes wrapped so that its gradients are averaged.
            step: number of the step.
        """


class Opponent:
    """A critic, its optimiser and its state.

    Args:
        task: which critic, and what it makes small.
        net: the critic, where it trains.
        wrapped: the same as several processes call it.
        betas: of Adam.
    """

    def __init__(
        self, task: Adversarial, net: nn.Module, wrapped: nn.Module, betas: tuple[float, float]
    ) -> None:
        self.task, self.net, self.wrapped = task, net, wrapped
        self.optimizer = torch.optim.Adam(net.parameters(), betas=betas)

    def step(
        self, number: int, rate: float, scaler: torch.amp.GradScaler, autocast: torch.autocast
    ) -> dict[str, Tensor]:
        """One step; gives the losses.

        Args:
            number: of the step.
            rate: learning rate.
            scaler: of the gradients; it is updated by the caller.
            autocast: the number format of the forward pass.
        """
        self.wrapped.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with autocast:
            losses = self.task.critic_loss(self.wrapped, number)
        if losses:
            self.optimizer.zero_grad(set_to_none=True)
            scaler.scale(losses["critic"]).backward()
            scaler.step(self.optimizer)
        return losses

    def state(self) -> dict[str, Any]:
        """What a resumption needs."""
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
