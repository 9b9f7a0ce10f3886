"""Conversion of the networks for sequences: DeRefNet and TDAN."""

import numpy as np

from distax.interop.grokcso.original import (
    KERNEL,
    Arrays,
    Original,
    axis_length,
    count_numbers,
    to_pointwise,
)
from distax.interop.grokcso.unfolding import ISTA_NET

_DEFORMABLE = (r"conv_offset\.", "offset.")
_RESIDUAL = ((r"\.conv1\.", ".first."), (r"\.conv2\.", ".second."))


def _sum_rows(array: np.ndarray) -> np.ndarray:
    """Converts the gate's matrix to the sums of its rows, which are all that the gate uses."""
    return array.sum(axis=1)


def _derefnet_options(arrays: Arrays) -> dict[str, object]:
    return {
        "stages": max(count_numbers(arrays, r"fcs\.(\d+)\."), 1),
        "transform_channels": axis_length(arrays, "fcs.0.conv1_forward", 0),
        "channels": axis_length(arrays, "TDDA.align_1.weight", 0),
        "blocks": max(count_numbers(arrays, r"TDDA\.tail_conv\.1\.(\d+)\."), 1),
    }


DEREFNET = Original(
    options=_derefnet_options,
    names=(
        *ISTA_NET.names,
        (r"^stages\.", "single.stages."),
        (r"^TDDA\.mlp\.weight$", "gate.slope"),
        (r"^TDDA\.mlp\.bias$", "gate.offset"),
        (r"^TDDA\.feat_extract\.0\.conv\.", "alignment.features."),
        (r"^TDDA\.feat_aggregate\.conv0_s\.", "alignment.attention.of_frame."),
        (r"^TDDA\.feat_aggregate\.conv1_s\.", "alignment.attention.of_neighbour."),
        (r"^TDDA\.feat_aggregate\.conv_squeeze\.", "alignment.attention.squeeze."),
        (r"^TDDA\.align_1\.", "alignment.first."),
        (r"^TDDA\.align_2\.", "alignment.second."),
        (r"^TDDA\.conv\.", "alignment.last."),
        (r"^TDDA\.tail_conv\.0\.conv\.", "reconstruction.first."),
        (r"^TDDA\.tail_conv\.1\.", "reconstruction.blocks."),
        (r"^TDDA\.tail_conv\.2\.", "reconstruction.last."),
        _DEFORMABLE,
        *_RESIDUAL,
        KERNEL,
    ),
    layouts={
        **ISTA_NET.layouts,
        r"^gate\.slope$": _sum_rows,
        r"attention\.of_.*kernel$": to_pointwise,
    },
)


def _tdan_options(arrays: Arrays) -> dict[str, object]:
    return {
        "channels": axis_length(arrays, "align_1.weight", 0),
        "groups": axis_length(arrays, "align_1.conv_offset.bias", 0) // 18,
        "blocks": max(count_numbers(arrays, r"feat_extract\.1\.(\d+)\."), 1),
        "tail_blocks": max(count_numbers(arrays, r"reconstruct\.1\.(\d+)\."), 1),
    }


TDAN = Original(
    options=_tdan_options,
    names=(
        (r"^feat_extract\.0\.conv\.", "features.first."),
        (r"^feat_extract\.1\.", "features.blocks."),
        (r"^feat_aggregate\.0\.", "alignment.merge."),
        (r"^feat_aggregate\.1\.", "alignment.refine.0."),
        (r"^feat_aggregate\.2\.", "alignment.refine.1."),
        (r"^align_1\.", "alignment.first."),
        (r"^align_2\.", "alignment.second."),
        (r"^to_rgb\.", "alignment.last."),
        (r"^reconstruct\.0\.conv\.", "reconstruction.first."),
        (r"^reconstruct\.1\.", "reconstruction.blocks."),
        (r"^reconstruct\.2\.upsample_conv\.", "upscale.conv."),
        (r"^reconstruct\.3\.", "last."),
        _DEFORMABLE,
        *_RESIDUAL,
        KERNEL,
    ),
)
