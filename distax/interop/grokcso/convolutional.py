"""Conversion of FOCUS, SRCNN, ESPCN, EDSR, RDN and CFGN."""

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
)
from distax.models.superresolution import FULL_SCALE


def _no_options(arrays: Arrays) -> dict[str, object]:
    return {}


def _edsr_options(arrays: Arrays) -> dict[str, object]:
    return {
        "channels": axis_length(arrays, "head.0.bias", 0),
        "blocks": count_numbers(arrays, r"body\.(\d+)\.body\."),
    }


def _rdn_options(arrays: Arrays) -> dict[str, object]:
    return {
        "channels": axis_length(arrays, "sfe1.bias", 0),
        "growth": axis_length(arrays, "rdbs.0.layers.0.conv.bias", 0),
        "blocks": count_numbers(arrays, r"rdbs\.(\d+)\."),
        "layers": count_numbers(arrays, r"rdbs\.0\.layers\.(\d+)\."),
    }


def _cfgn_options(arrays: Arrays) -> dict[str, object]:
    return {
        "channels": axis_length(arrays, "head_conv.bias", 0),
        "blocks": count_numbers(arrays, r"body\.(\d+)\."),
    }


FOCUS = Original(
    options=_no_options,
    names=(
        (r"^stage1\.", "coarse."),
        (r"^stage2\.", "fine."),
        (r"conv1\.", "wide."),
        (r"conv2\.", "narrow."),
        (r"conv_(intensity|mask)\.", r"\1."),
        (r"^relu\.weight$", "activation.slope"),
        KERNEL,
    ),
)

SRCNN = Original(
    options=_no_options,
    names=(
        (r"^conv1\.", "first."),
        (r"^conv2\.", "second."),
        (r"^conv3\.", "last."),
        KERNEL,
    ),
)

EDSR = Original(
    options=_edsr_options,
    names=(
        HEAD,
        (r"^body\.(\d+)\.body\.0\.", r"blocks.\1.first."),
        (r"^body\.(\d+)\.body\.2\.", r"blocks.\1.second."),
        (r"^body\.\d+\.", "last."),
        *TAIL,
        KERNEL,
    ),
    # Shifts by half the full scale, which are the same in all models.
    unused=(r"(sub|add)_mean\.(weight|bias)",),
)


def _edsr_sequence_options(arrays: Arrays) -> dict[str, object]:
    return {
        "channels": axis_length(arrays, "conv_first.bias", 0),
        "blocks": count_numbers(arrays, r"body\.(\d+)\."),
        "scale": FULL_SCALE,
    }


EDSR_SEQUENCE = Original(
    options=_edsr_sequence_options,
    names=(
        (r"^conv_first\.", "head."),
        (r"^body\.(\d+)\.conv1\.", r"blocks.\1.first."),
        (r"^body\.(\d+)\.conv2\.", r"blocks.\1.second."),
        (r"^conv_after_body\.", "last."),
        (r"^upsample\.0\.", "tail.upscale.conv."),
        (r"^conv_last\.", "tail.last."),
        KERNEL,
    ),
)

ESPCN = Original(
    options=lambda arrays: {"counts": True},
    names=(
        (r"^conv1\.", "first."),
        (r"^conv2\.", "second."),
        (r"^conv3\.", "upscale.conv."),
        KERNEL,
    ),
)

RDN = Original(
    options=_rdn_options,
    names=(
        (r"^sfe1\.", "first."),
        (r"^sfe2\.", "second."),
        (r"^rdbs\.", "blocks."),
        (r"\.conv\.", "."),
        (r"\.lff\.", ".fuse."),
        (r"^gff\.0\.", "fuse."),
        (r"^gff\.1\.", "last."),
        (r"^upscale\.0\.", "tail.upscale.conv."),
        (r"^output\.", "tail.last."),
        KERNEL,
    ),
    layouts={r"fuse\.kernel$": to_pointwise},
)

CFGN = Original(
    options=_cfgn_options,
    names=(
        (r"^head_conv\.", "head."),
        (r"^body\.", "blocks."),
        (r"\.blocks\.(\d+)\.conv3x3\.", r".steps.\1."),
        (r"\.conv1x1s\.(\d+)\.0\.", r".distill.\1."),
        (r"\.conv3x3\.0\.", ".distill_last."),
        (r"\.conv1x1_act\.0\.", ".fuse."),
        (r"\.cca\.", ".attention."),
        *GATE,
        (r"^features_fusion_module\.0\.", "fuse."),
        (r"^features_fusion_module\.2\.", "last."),
        (r"^upsampler\.0\.", "upscale.conv."),
        KERNEL,
    ),
    layouts={r"(distill\.\d+|fuse|squeeze|excite)\.kernel$": to_pointwise},
)
