"""Conversion of networks that project between grids: SRFBN, DBPN and GMFN."""

from distax.interop.grokcso.original import (
    KERNEL,
    Arrays,
    Original,
    axis_length,
    count_numbers,
    to_pointwise,
    to_transposed,
)

# Names of a layer and the PReLU after it.
_WITH_PRELU = (
    (r"(\d+\.)(weight|bias)$", r"layers.\1\2"),
    (r"layers\.1\.weight$", "layers.1.slope"),
)


def _srfbn_options(arrays: Arrays) -> dict[str, object]:
    axis_length(arrays, "add_mean.bias", 0)  # raises if the array is missing
    return {
        "channels": axis_length(arrays, "feat_in.0.bias", 0),
        "groups": count_numbers(arrays, r"block\.upBlocks\.(\d+)\."),
        "offset": float(arrays["add_mean.bias"][0]),
    }


SRFBN = Original(
    options=_srfbn_options,
    names=(
        (r"^conv_in\.", "head."),
        (r"^feat_in\.", "features."),
        (r"^out\.", "expand."),
        (r"^conv_out\.0\.", "last."),
        (r"upBlocks\.", "ups."),
        (r"downBlocks\.", "downs."),
        (r"uptranBlocks\.", "merge_coarse.layers."),
        (r"downtranBlocks\.", "merge_fine.layers."),
        *_WITH_PRELU,
        KERNEL,
    ),
    # The first shift is the same in all models. The second is read as the option `offset`.
    unused=(r"(sub|add)_mean\.(weight|bias)",),
    layouts={
        r"(ups\.\d+|expand)\.layers\.0\.kernel$": to_transposed,
        r"(features|compress_in|compress_out|merge_\w+\.layers\.\d+)\.layers\.0\.kernel$": (
            to_pointwise
        ),
    },
)


def _dbpn_options(arrays: Arrays) -> dict[str, object]:
    units = count_numbers(arrays, r"network\.(\d+)\.conv_1\.")
    return {
        "initial": axis_length(arrays, "network.0.bias", 0),
        "channels": axis_length(arrays, "network.2.bias", 0),
        "stages": max((units + 1) // 2, 1),
        "dense": False,
    }


DBPN = Original(
    options=_dbpn_options,
    names=(
        (r"^network\.0\.", "head.0."),
        (r"^network\.1\.", "head.1."),
        (r"^network\.2\.", "features.0."),
        (r"^network\.3\.", "features.1."),
        (r"^network\.\d+\.(?=weight|bias)", "last."),
        (r"^network\.4\.", "start."),
        # Units down and up alternate after the first one up.
        *((rf"^network\.{5 + 2 * k}\.", f"downs.{k}.") for k in range(20)),
        *((rf"^network\.{6 + 2 * k}\.", f"ups.{k}.") for k in range(20)),
        (r"^(start|ups\.\d+)\.conv_1\.", r"\1.back."),
        (r"^(downs\.\d+)\.deconv_1\.", r"\1.back."),
        (r"(de)?conv_1\.", "first."),
        (r"(de)?conv_2\.", "second."),
        *_WITH_PRELU,
        KERNEL,
    ),
    layouts={
        r"(start|ups\.\d+)\.(first|second)\.layers\.0\.kernel$": to_transposed,
        r"downs\.\d+\.back\.layers\.0\.kernel$": to_transposed,
        r"features\.layers\.0\.kernel$": to_pointwise,
    },
)


def _gmfn_options(arrays: Arrays) -> dict[str, object]:
    channels = axis_length(arrays, "feat_in.0.bias", 0)
    return {
        "channels": channels,
        "blocks": count_numbers(arrays, r"block\.RDBs_list\.(\d+)\."),
        "sources": axis_length(arrays, "block.GFMs_list.0.0.weight", 1) // max(channels, 1),
    }


GMFN = Original(
    options=_gmfn_options,
    names=(
        (r"^conv_in\.", "head."),
        (r"^feat_in\.", "features."),
        (r"^block\.RDBs_list\.", "blocks."),
        *((rf"\.conv{k + 1}\.", f".layers.{k}.") for k in range(8)),
        (r"\.conv9\.0\.", ".fuse."),
        (r"^block\.GFMs_list\.0\.", "feedback.select."),
        (r"^block\.GFMs_list\.1\.", "feedback.merge."),
        (r"^out\.", "expand."),
        (r"^conv_out\.0\.", "last."),
        *_WITH_PRELU,
        KERNEL,
    ),
    layouts={
        r"expand\.layers\.0\.kernel$": to_transposed,
        r"(fuse|(features|select|merge)\.layers\.0)\.kernel$": to_pointwise,
    },
)
