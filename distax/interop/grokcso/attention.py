"""Conversion of residual networks with attention: RCAN, HAN, SAN, EGASR, FENet and CTNet."""

import numpy as np

from distax.interop.grokcso.original import (
    GATE,
    HEAD,
    KERNEL,
    TAIL,
    Arrays,
    Original,
    axis_length,
    count_numbers,
    to_pointwise,
    to_scalar,
)

_GATE_LAYOUT = {r"(squeeze|excite)\.kernel$": to_pointwise}


def _cube(array: np.ndarray) -> np.ndarray:
    """Converts (1, 1, channel, row, column) to (channel, row, column)."""
    return array[0, 0]


def _attention_groups(arrays: Arrays) -> dict[str, object]:
    """Reads the sizes of the residual groups of RCAN and HAN."""
    channels = axis_length(arrays, "head.0.weight", 0)
    first = "body.0.body.0.body.3.conv_du.0.weight"
    return {
        "channels": channels,
        "groups": count_numbers(arrays, r"body\.(\d+)\.body\."),
        "blocks": count_numbers(arrays, r"body\.0\.body\.(\d+)\.body\."),
        "reduction": channels // max(axis_length(arrays, first, 0), 1),
    }


_GROUPS = (
    (r"^body\.(\d+)\.(?=weight|bias)", "last."),
    (r"^body\.(\d+)\.body\.(\d+)\.body\.", r"groups.\1.blocks.\2."),
    (r"^body\.(\d+)\.body\.(\d+)\.", r"groups.\1.last."),
    (r"(blocks\.\d+\.)0\.", r"\1first."),
    (r"(blocks\.\d+\.)2\.", r"\1second."),
    (r"(blocks\.\d+\.)3\.", r"\1gate."),
)

RCAN = Original(
    options=_attention_groups,
    names=(HEAD, *TAIL, *_GROUPS, *GATE, KERNEL),
    layouts=_GATE_LAYOUT,
)

HAN = Original(
    options=_attention_groups,
    names=(
        HEAD,
        *TAIL,
        (r"^la\.gamma$", "layer_attention.gain"),
        (r"^csa\.gamma$", "channel_spatial_attention.gain"),
        (r"^csa\.conv\.", "channel_spatial_attention."),
        (r"^last_conv\.", "merge_layers."),
        (r"^last\.", "merge_attentions."),
        *_GROUPS,
        *GATE,
        KERNEL,
    ),
    layouts=_GATE_LAYOUT
    | {
        r"attention\.(gain|bias)$": to_scalar,
        r"channel_spatial_attention\.kernel$": _cube,
    },
)


def _san_options(arrays: Arrays) -> dict[str, object]:
    channels = axis_length(arrays, "head.0.weight", 0)
    return {
        "channels": channels,
        "groups": count_numbers(arrays, r"RG\.(\d+)\."),
        "blocks": count_numbers(arrays, r"RG\.0\.rcab\.(\d+)\."),
        "reduction": channels // max(axis_length(arrays, "RG.0.soca.conv_du.0.weight", 0), 1),
    }


SAN = Original(
    options=_san_options,
    names=(
        HEAD,
        *TAIL,
        (r"^gamma$", "gain"),
        (r"^RG\.(\d+)\.rcab\.(\d+)\.conv_first\.0\.", r"groups.\1.blocks.\2.first."),
        (r"^RG\.(\d+)\.rcab\.(\d+)\.conv_first\.2\.", r"groups.\1.blocks.\2.second."),
        (r"^RG\.(\d+)\.soca\.", r"groups.\1.gate."),
        (r"^RG\.(\d+)\.conv_last\.", r"groups.\1.last."),
        (r"^non_local\.non_local\.", "region_attention."),
        (r"attention\.theta\.", "attention.query."),
        (r"attention\.phi\.0\.", "attention.key."),
        (r"attention\.g\.0\.", "attention.value."),
        (r"attention\.W\.", "attention.merge."),
        *GATE,
        KERNEL,
    ),
    unused=(
        r"RG\.\d+\.gamma",
        r"conv_last\..*",
        r"non_local\.soca\..*",
        r"non_local\.non_local\.phi\.0\.bias",
    ),
    layouts=_GATE_LAYOUT | {r"^gain$": to_scalar, r"^region_attention\..*kernel$": to_pointwise},
)


def _egasr_options(arrays: Arrays) -> dict[str, object]:
    return {
        "channels": axis_length(arrays, "head.0.weight", 0),
        "groups": count_numbers(arrays, r"REGs\.(\d+)\."),
        "blocks": count_numbers(arrays, r"REGs\.0\.body\.(\d+)\.body\."),
    }


EGASR = Original(
    options=_egasr_options,
    names=(
        HEAD,
        *TAIL,
        (r"^gamma$", "gain"),
        (r"^REGs\.(\d+)\.body\.(\d+)\.body\.", r"groups.\1.blocks.\2."),
        (r"^REGs\.(\d+)\.body\.\d+\.", r"groups.\1.last."),
        (r"(blocks\.\d+\.)0\.", r"\1first."),
        (r"(blocks\.\d+\.)1\.weight", r"\1activation.slope"),
        (r"(blocks\.\d+\.)2\.", r"\1second."),
        (r"(blocks\.\d+\.)3\.", r"\1core."),
        (r"core\.recon_trunk\.conv1\.", "core.first."),
        (r"core\.recon_trunk\.act\.weight", "core.activation.slope"),
        (r"core\.recon_trunk\.conv2\.", "core.second."),
        (r"core\.edgeconvs\.(\d+)\.0\.", r"core.edges.filters.\1."),
        (r"core\.conv_reduce\.", "core.edges.merge."),
        (r"core\.sa\.conv1\.", "core.spatial_attention."),
        (r"core\.fc\.", "core.squeeze."),
        (r"core\.fcs\.0\.", "core.residual_weight."),
        (r"core\.fcs\.1\.", "core.edge_weight."),
        (r"\.k0$", ".mix"),
        KERNEL,
    ),
    # The templates are the same in all models, so distax does not store them.
    unused=(r".*\.conv3x3\..*", r".*\.b0", r".*\.template"),
    layouts={
        r"^gain$": to_scalar,
        r"\.scale$": np.ravel,
        r"(\.mix|edges\.merge\.kernel)$": to_pointwise,
    },
)


def _fenet_options(arrays: Arrays) -> dict[str, object]:
    channels = axis_length(arrays, "entry_1.weight_v", 0)
    return {
        "channels": channels,
        "blocks": count_numbers(arrays, r"body\.(\d+)\."),
        "groups": channels // max(axis_length(arrays, "upscample.up.body.0.weight_v", 1), 1),
    }


FENET = Original(
    options=_fenet_options,
    names=(
        (r"^entry_1\.", "head."),
        (r"^reduction\.conv\.", "merge."),
        (r"^upscample\.up\.body\.0\.", "upscale."),
        (r"^exit\.", "last."),
        (r"^body\.", "blocks."),
        (r"\.path_1\.", ".plain_entry."),
        (r"\.k1\.", ".plain."),
        (r"\.path_2\.", ".enhanced_entry."),
        (r"\.HConv\.k2\.", ".enhancement.gate."),
        (r"\.HConv\.k3\.", ".enhancement.first."),
        (r"\.HConv\.k4\.", ".enhancement.second."),
        (r"\.conv\.", ".merge."),
        (r"weight_v$", "direction"),
        (r"weight_g$", "norm"),
    ),
    layouts={r"\.norm$": np.ravel},
)


def _ctnet_options(arrays: Arrays) -> dict[str, object]:
    return {
        "channels": axis_length(arrays, "conv_first.weight", 0),
        "blocks": count_numbers(arrays, r"ctb(\d+)\."),
        "tail_channels": axis_length(arrays, "upconv1.weight", 0),
        "skip_channels": axis_length(arrays, "cfa1.weight", 0),
    }


CTNET = Original(
    options=_ctnet_options,
    names=(
        # The original counts blocks from 1, and enhancements from 2: the first block has none.
        *((rf"^cem{i + 2}\.", f"enhancements.{i}.") for i in range(15)),
        *((rf"^ctb{i + 1}\.", f"blocks.{i}.") for i in range(16)),
        *((rf"^cfa{i + 1}\.", f"skips.{i}.") for i in range(16)),
        (r"^conv_first\.", "head."),
        (r"^c\.", "merge."),
        (r"^upconv1\.", "tail.first."),
        (r"^att1\.conv\.", "tail.attention."),
        (r"^HRconv1\.", "tail.second."),
        (r"^conv_last\.", "tail.last."),
        (r"\.ctl1\.", ".first."),
        (r"\.ctl2\.", ".second."),
        (r"\.cfe\.0\.k1\.0\.", ".local."),
        (r"\.cfe\.0\.k2\.1\.", ".context."),
        (r"\.cft\.0\.", ".derive."),
        (r"\.feat_enhanced\.0\.", ".skip."),
        (r"\.conv1\.", ".reduce."),
        (r"\.conv2\.", ".shrink."),
        (r"\.conv_max\.", ".first."),
        (r"\.conv3\.", ".second."),
        (r"\.conv3_\.", ".third."),
        (r"\.conv_f\.", ".skip."),
        (r"\.conv4\.", ".expand."),
        KERNEL,
    ),
    unused=(r".*\.cfe\.0\.k[34]\..*",),
    layouts={
        r"(merge|tail\.attention|local|context|reduce|skip|expand)\.kernel$": to_pointwise,
    },
)
