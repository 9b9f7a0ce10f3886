"""Conversion of unfolded algorithms.

These are LISTA, LIHT, LAMP, TiLISTA, ISTA-Net, ISTA-Net+, ISTA-Net++, FISTA-Net, USRNet and
RPCANet.
"""

import re

from distax.interop.grokcso.original import (
    KERNEL,
    Arrays,
    Original,
    axis_length,
    count_numbers,
    to_pointwise,
    to_scalar,
    to_transposed,
    to_vector,
    unchanged,
)

_MATRICES = {r"(recurrent|forward|backward)$": unchanged, r"threshold$|sparsity$": to_vector}


def _layers(arrays: Arrays) -> dict[str, object]:
    return {"layers": max(count_numbers(arrays, r"fcs\.(\d+)\."), 1)}


def _stages(arrays: Arrays) -> dict[str, object]:
    return {
        "stages": max(count_numbers(arrays, r"fcs\.(\d+)\."), 1),
        "channels": axis_length(arrays, "fcs.0.conv1_forward", 0),
    }


def _fista_net(arrays: Arrays) -> dict[str, object]:
    return {"channels": axis_length(arrays, "bb.conv_D.bias", 0)}


LISTA = Original(
    options=_layers,
    names=(
        (r"^fcs\.", "layers."),
        (r"\.Ws$", ".recurrent"),
        (r"\.Bs$", ".forward"),
        (r"\.soft_thr$", ".threshold"),
    ),
    layouts=_MATRICES,
)

LIHT = Original(
    options=_layers,
    names=(
        (r"^fcs\.", "layers."),
        (r"\.W$", ".recurrent"),
        (r"\.B$", ".forward"),
        (r"\.theta$", ".threshold"),
    ),
    layouts=_MATRICES,
)

LAMP = Original(
    options=_layers,
    names=((r"^fcs\.", "layers."), (r"\.B$", ".backward"), (r"\.lam$", ".sparsity")),
    layouts=_MATRICES,
)

TILISTA = Original(
    options=_layers,
    names=(
        (r"^fcs\.", "layers."),
        (r"\.W$", ".backward"),
        (r"\.theta$", ".threshold"),
        (r"\.alpha$", ".step_size"),
    ),
    layouts=_MATRICES | {r"step_size$": to_scalar},
)

ISTA_NET = Original(
    options=_stages,
    names=(
        (r"^fcs\.", "stages."),
        (r"lambda_step$", "step_size"),
        (r"soft_thr$", "threshold"),
        (r"conv_D$", "lift"),
        (r"conv_G$", "drop"),
        (r"conv1_(forward|backward)$", r"\1.first"),
        (r"conv2_(forward|backward)$", r"\1.second"),
    ),
    layouts={r"(step_size|threshold)$": to_scalar},
)


def _ista_net_pp_options(arrays: Arrays) -> dict[str, object]:
    return {
        "stages": max(count_numbers(arrays, r"fcs\.(\d+)\."), 1),
        "channels": axis_length(arrays, "fcs.0.head_conv.bias", 0),
        "blocks": count_numbers(arrays, r"fcs\.0\.ResidualBlocks\.(\d+)\."),
    }


ISTA_NET_PP = Original(
    options=_ista_net_pp_options,
    names=(
        (r"^fcs\.", "stages."),
        (r"(head|tail)_conv\.", r"\1."),
        (r"ResidualBlocks\.", "blocks."),
        (r"(conv|fc)1\.", "first."),
        (r"(conv|fc)2\.", "second."),
        (r"fc3\.", "last."),
        KERNEL,
    ),
)

FISTA_NET = Original(
    options=_fista_net,
    names=(
        (r"^w_(.*)$", r"\1.slope"),
        (r"^b_(.*)$", r"\1.offset"),
        (r"^mu\.", "step_size."),
        (r"^theta\.", "threshold."),
        (r"^rho\.", "momentum."),
        (r"^bb\.", "proximal."),
        (r"conv_D\.", "lift."),
        (r"conv_G\.", "drop."),
        (r"conv1_(forward|backward)", r"\1.first"),
        (r"conv4_(forward|backward)", r"\1.second"),
        KERNEL,
    ),
    unused=(r"bb\.conv[23]_(forward|backward)\..*",),
    layouts={r"(slope|offset)$": to_scalar},
)


# Indices of the batch normalisations in a network: the layers repeat in threes.
_NORM_POSITIONS = "|".join(str(place) for place in range(1, 100, 3))


def _usrnet_options(arrays: Arrays) -> dict[str, object]:
    blocks = count_numbers(arrays, r"p\.m_down1\.(\d+)\.res\.")
    coarser = range(1, count_numbers(arrays, r"p\.m_down(\d+)\.") + 1)
    return {
        "iterations": axis_length(arrays, "h.mlp.4.bias", 0) // 2,
        "hidden": axis_length(arrays, "h.mlp.0.bias", 0),
        "channels": (
            axis_length(arrays, "p.m_head.weight", 0),
            *(axis_length(arrays, f"p.m_down{level}.{blocks}.weight", 0) for level in coarser),
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
        (r"^p\.m_body\.(?=res)", "p.m_body.0."),  # if there is only one block
        (r"^p\.m_body\.", "denoiser.body.layers."),
        *((rf"^p\.m_(down|up){k + 1}\.", rf"denoiser.\1.{k}.layers.") for k in range(3)),
        (r"res\.0\.", "first."),
        (r"res\.2\.", "second."),
        KERNEL,
    ),
    layouts={
        r"^hyper_parameters.*kernel$": to_pointwise,
        r"up\.\d\.layers\.0\.kernel$": to_transposed,
    },
)


class _LastReconstruction(Original):
    """Original that stores a reconstruction for every stage and uses only the last."""

    def select_used(self, arrays: Arrays) -> Arrays:
        last = count_numbers(arrays, r"decos\.(\d+)\.") - 1
        others = re.compile(rf"decos\.(?!{last}\.)\d+\.merge\.")
        found = super().select_used(arrays)
        return {name: array for name, array in found.items() if not others.match(name)}


def _rpcanet_options(arrays: Arrays) -> dict[str, object]:
    def between(network: str) -> int:
        """Counts the convolutions between the first and the last of a network."""
        pattern = rf"decos\.0\.{network}\.(\d+)\.weight"
        kernels = [name for name in arrays if re.match(pattern, name) and arrays[name].ndim == 4]
        return max(len(kernels) - 2, 1)

    return {
        "stages": max(count_numbers(arrays, r"decos\.(\d+)\."), 1),
        "channels": axis_length(arrays, "decos.0.lowrank.convs.0.weight", 0),
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
        # Each convolution is followed by its normalisation, then by a ReLU without arrays.
        (rf"((background|merge)\.layers\.({_NORM_POSITIONS}))\.weight$", r"\1.scale"),
        (r"running_", ""),
        KERNEL,
    ),
    unused=(r".*\.num_batches_tracked",),
    layouts={r"step_size$": to_scalar},
)
