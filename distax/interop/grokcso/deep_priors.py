"""Unfolded algorithms whose prior is a convolutional network."""

import re

from distax.interop.grokcso.convolutional import transposed
from distax.interop.grokcso.original import (
    KERNEL,
    Arrays,
    Original,
    numbered,
    pointwise,
    scalar,
    shape,
)

_NORMS = "|".join(str(place) for place in range(1, 100, 3))


def _usrnet_options(arrays: Arrays) -> dict[str, object]:
    blocks = numbered(arrays, r"p\.m_down1\.(\d+)\.res\.")
    coarser = range(1, numbered(arrays, r"p\.m_down(\d+)\.") + 1)
    return {
        "iterations": shape(arrays, "h.mlp.4.bias", 0) // 2,
        "hidden": shape(arrays, "h.mlp.0.bias", 0),
        "channels": (
            shape(arrays, "p.m_head.weight", 0),
            *(shape(arrays, f"p.m_down{level}.{blocks}.weight", 0) for level in coarser),
        ),
        "blocks": blocks,
    }


USRNET = Original(
    options=_usrnet_options,
    names=(
        (r"^h\.mlp\.0\.", "hyper_parameters.first."),
        (r"^h\.mlp\.2\.", "hyper_parameters.second."),
        (r"^h\.mlp\.4\.", "hyper_parameters.last."),
        (r"^p\.m_(head|tail)\.", r"denoiser.\1."),
        (r"^p\.m_body\.(?=res)", "p.m_body.0."),  # where there is one block only
        (r"^p\.m_body\.", "denoiser.body.layers."),
        *((rf"^p\.m_(down|up){k + 1}\.", rf"denoiser.\1.{k}.layers.") for k in range(3)),
        (r"res\.0\.", "first."),
        (r"res\.2\.", "second."),
        KERNEL,
    ),
    layouts={
        r"^hyper_parameters.*kernel$": pointwise,
        r"up\.\d\.layers\.0\.kernel$": transposed,
    },
)


class _LastReconstruction(Original):
    """Arrays among which only the last stage's reconstruction takes part in anything."""

    def used(self, arrays: Arrays) -> Arrays:
        last = numbered(arrays, r"decos\.(\d+)\.") - 1
        others = re.compile(rf"decos\.(?!{last}\.)\d+\.merge\.")
        found = super().used(arrays)
        return {name: array for name, array in found.items() if not others.match(name)}


def _rpcanet_options(arrays: Arrays) -> dict[str, object]:
    def between(network: str) -> int:
        """Convolutions between the first and the last."""
        pattern = rf"decos\.0\.{network}\.(\d+)\.weight"
        kernels = [name for name in arrays if re.match(pattern, name) and arrays[name].ndim == 4]
        return max(len(kernels) - 2, 1)

    return {
        "stages": max(numbered(arrays, r"decos\.(\d+)\."), 1),
        "channels": shape(arrays, "decos.0.lowrank.convs.0.weight", 0),
        "background_layers": between(r"lowrank\.convs"),
        "target_layers": between(r"sparse\.convs"),
        "merge_layers": between(r"merge\.mapping"),
    }


RPCANET = _LastReconstruction(
    options=_rpcanet_options,
    names=(
        (r"^decos\.(\d+)\.lowrank\.convs\.", r"stages.\1.background.layers."),
        (r"^decos\.(\d+)\.sparse\.convs\.", r"stages.\1.target.layers."),
        (r"^decos\.(\d+)\.sparse\.epsilon$", r"stages.\1.step_size"),
        (r"^decos\.\d+\.merge\.mapping\.", "merge.layers."),
        # After a convolution its normalisation, then a ReLU without arrays.
        (rf"((background|merge)\.layers\.({_NORMS}))\.weight$", r"\1.scale"),
        (r"running_", ""),
        KERNEL,
    ),
    unused=(r".*\.num_batches_tracked",),
    layouts={r"step_size$": scalar},
)
