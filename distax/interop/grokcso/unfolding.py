"""LISTA, LIHT, LAMP, TiLISTA, ISTA-Net, ISTA-Net+ and FISTA-Net."""

from distax.interop.grokcso.original import (
    KERNEL,
    Arrays,
    Original,
    as_it_is,
    numbered,
    scalar,
    shape,
    vector,
)

_MATRICES = {r"(recurrent|forward|backward)$": as_it_is, r"threshold$|sparsity$": vector}


def _layers(arrays: Arrays) -> dict[str, object]:
    return {"layers": max(numbered(arrays, r"fcs\.(\d+)\."), 1)}


def _stages(arrays: Arrays) -> dict[str, object]:
    return {
        "stages": max(numbered(arrays, r"fcs\.(\d+)\."), 1),
        "channels": shape(arrays, "fcs.0.conv1_forward", 0),
    }


def _fista_net(arrays: Arrays) -> dict[str, object]:
    return {"channels": shape(arrays, "bb.conv_D.bias", 0)}


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
    layouts=_MATRICES | {r"step_size$": scalar},
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
    layouts={r"(step_size|threshold)$": scalar},
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
    layouts={r"(slope|offset)$": scalar},
)
