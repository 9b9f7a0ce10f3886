"""DISTA-Net in PyTorch, written from its equations for comparison with distax.

It takes the arrays of a distax model, so that both compute the same numbers. It is imported in
PyTorch's own process only; see `distax.benchmarking.torch_process`.
"""

import numpy as np
import torch
from flax import nnx as flax
from torch import Tensor, nn
from torch.nn import functional

from distax.models import Dista
from distax.models.unfolding.dista_stage import Stage as DistaxStage
from distax.runtime.pytree import named_leaves


class Stage(nn.Module):
    """One unrolled iteration; names follow `distax.models.unfolding.dista_stage`."""

    def __init__(self, stage: DistaxStage):
        super().__init__()
        self.shape, self.alpha = stage.shape, stage.alpha
        self.in_bfloat16 = stage.precision == "bfloat16"
        arrays = _arrays(stage)
        self.names = {name: name.replace(".", "_") for name in arrays}
        for name, array in arrays.items():
            self.register_parameter(self.names[name], nn.Parameter(_to_torch(name, array)))

    def __getitem__(self, name: str) -> Tensor:
        return self.get_parameter(self.names[name])

    def forward(self, x: Tensor, y: Tensor, phi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the next estimate x, and the r and u of this iteration."""
        r = x - self["step_size"] * ((x @ phi.T - y) @ phi)
        r = r.reshape(-1, 1, *self.shape)
        with self._precision(x):
            static = self._two_convolutions("static_transform", r)
            u = self.alpha * static + (1 - self.alpha) * self._dynamic(r, x)
            z = torch.sign(u) * functional.relu(u.abs() - self._threshold(u))
            estimate = self._two_convolutions("inverse", z)
        return estimate.to(x.dtype).reshape(x.shape), r, u

    def symmetry(self, r: Tensor, u: Tensor) -> Tensor:
        """Returns the symmetry residual G(u) − r."""
        with self._precision(r):
            return self._two_convolutions("inverse", u).to(r.dtype) - r

    def _precision(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.in_bfloat16)

    def _two_convolutions(self, name: str, maps: Tensor) -> Tensor:
        hidden = functional.relu(functional.conv2d(maps, self[f"{name}.first"], padding=1))
        return functional.conv2d(hidden, self[f"{name}.second"], padding=1)

    def _dynamic(self, r: Tensor, x: Tensor) -> Tensor:
        hidden = x @ self["dynamic_transform.compress.kernel"]
        hidden = hidden + self["dynamic_transform.compress.bias"]
        kernels = hidden @ self["dynamic_transform.expand.kernel"]
        kernels = (kernels + self["dynamic_transform.expand.bias"]).reshape(-1, 1, 3, 3)
        # Each sample has its own kernel: the samples are groups of one image.
        maps = functional.conv2d(r.transpose(0, 1), kernels, padding=1, groups=len(r))
        return torch.sigmoid(maps.transpose(0, 1))

    def _threshold(self, u: Tensor) -> Tensor:
        p = self._pointwise("threshold.point_view", u)
        wide = functional.conv2d(
            u,
            self["threshold.wide_view.depthwise"],
            self["threshold.wide_view.depthwise_bias"],
            padding=1,
            groups=u.shape[1],
        )
        q = self._pointwise("threshold.wide_view.pointwise", wide)
        views = torch.cat([p, q], dim=1)
        summary = torch.stack([views.mean(dim=1), views.amax(dim=1)], dim=1)
        attention = torch.sigmoid(
            functional.conv2d(
                summary, self["threshold.squeeze"], self["threshold.squeeze_bias"], padding=1
            )
        )
        return u * self._pointwise("threshold.merge", p * attention[:, :1] + q * attention[:, 1:])

    def _pointwise(self, name: str, maps: Tensor) -> Tensor:
        return functional.conv2d(maps, self[f"{name}.kernel"], self[f"{name}.bias"])


class TorchDista(nn.Module):
    """DISTA-Net with the arrays of a distax model."""

    def __init__(self, model: Dista):
        super().__init__()
        self.symmetry_weight = model.symmetry_weight
        self.register_buffer("phi", torch.tensor(np.asarray(model.phi[...])))
        self.register_buffer("q_init", torch.tensor(np.asarray(model.q_init[...])))
        self.stages = nn.ModuleList(Stage(stage) for stage in model.stages)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the intensity on the sub-pixel grid."""
        y, x = self._start(images)
        for stage in self.stages:
            x, _, _ = stage(x, y, self.phi)
        return x.reshape(-1, *self.stages[0].shape)

    def objective(self, images: Tensor, grids: Tensor) -> Tensor:
        """Returns the loss mean (x_N − x*)² + 0.01 Σ_k mean (G(u_k) − r_k)²."""
        y, x = self._start(images)
        symmetry = torch.zeros((), device=images.device)
        for stage in self.stages:
            x, r, u = stage(x, y, self.phi)
            symmetry = symmetry + stage.symmetry(r, u).square().mean()
        error = (x - grids.reshape(x.shape)).square().mean()
        return error + self.symmetry_weight * symmetry

    def _start(self, images: Tensor) -> tuple[Tensor, Tensor]:
        y = images.reshape(len(images), -1)
        return y, y @ self.q_init.T


def _arrays(stage: DistaxStage) -> dict[str, np.ndarray]:
    leaves = named_leaves(flax.state(stage, flax.Param))
    return {name.removesuffix(".value"): np.asarray(leaf) for name, leaf in leaves.items()}


def _to_torch(name: str, array: np.ndarray) -> Tensor:
    """Converts an array to PyTorch's layout: (out, in, row, column) for convolutions."""
    if name == "threshold.wide_view.depthwise":
        array = array.transpose(2, 0, 1)[:, None]
    elif array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif name.startswith("threshold") and array.ndim == 2:
        array = array.T[..., None, None]
    return torch.tensor(array)
