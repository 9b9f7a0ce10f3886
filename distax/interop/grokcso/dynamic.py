"""Conversion of unfolded algorithms with dynamic parts: DISTA-Net, its ablations and STSA-Net."""

from distax.interop.grokcso.original import (
    KERNEL,
    Arrays,
    Original,
    axis_length,
    count_numbers,
    to_depthwise,
    to_pointwise,
    to_scalar,
)


def _dista_options(arrays: Arrays) -> dict[str, object]:
    return {
        "stages": max(count_numbers(arrays, r"(\d+)\."), 1),
        "channels": axis_length(arrays, "0.conv1_forward", 0),
        "hidden": axis_length(arrays, "0.w1.bias", 0),
    }


DISTA = Original(
    options=_dista_options,
    names=(
        (r"^(?=\d+\.)", "stages."),
        (r"lambda_step$", "step_size"),
        (r"conv1_forward$", "static_transform.first"),
        (r"conv2_forward$", "static_transform.second"),
        (r"conv1_backward$", "inverse.first"),
        (r"conv2_backward$", "inverse.second"),
        (r"w1\.", "dynamic_transform.compress."),
        (r"w2\.", "dynamic_transform.expand."),
        (r"att\.convl\.weight$", "threshold.wide_view.depthwise"),
        (r"att\.convl\.bias$", "threshold.wide_view.depthwise_bias"),
        (r"att\.conv0_s\.", "threshold.point_view."),
        (r"att\.conv1_s\.", "threshold.wide_view.pointwise."),
        (r"att\.conv_squeeze\.weight$", "threshold.squeeze"),
        (r"att\.conv_squeeze\.bias$", "threshold.squeeze_bias"),
        (r"att\.conv_m\.", "threshold.merge."),
        KERNEL,
    ),
    layouts={
        r"step_size$": to_scalar,
        r"depthwise$": to_depthwise,
        r"(point_view|pointwise|merge)\.kernel$": to_pointwise,
    },
)


def _stsa_options(arrays: Arrays) -> dict[str, object]:
    return {
        "stages": max(count_numbers(arrays, r"fcs\.(\d+)\."), 1),
        "channels": axis_length(arrays, "fcs.0.conv1_forward", 0),
    }


STSA = Original(
    options=_stsa_options,
    names=(
        (r"^fcs\.", "stages."),
        (r"lambda_step$", "step_size"),
        (r"conv1_forward$", "static_transform.first"),
        (r"conv2_forward$", "static_transform.second"),
        (r"conv1_backward$", "inverse.first"),
        (r"conv2_backward$", "inverse.second"),
        (r"rssb_proj\.", "wide_transform.project."),
        (r"rssb_block\.gamma$", "wide_transform.gain"),
        (r"rssb_block\.conv1\.", "wide_transform.first."),
        (r"rssb_block\.global_conv\.", "wide_transform.wide."),
        (r"rssb_block\.conv2\.", "wide_transform.second."),
        (r"rssb_block\.channel_mix\.0\.", "wide_transform.mix.first."),
        (r"rssb_block\.channel_mix\.2\.", "wide_transform.mix.second."),
        (r"rssb_block\.ca\.1\.", "wide_transform.gate.squeeze."),
        (r"rssb_block\.ca\.3\.", "wide_transform.gate.excite."),
        (r"stsc\.alpha$", "filter.mixture"),
        (r"stsc\.conv1x1\.", "filter.point."),
        (r"stsc\.conv3x3\.", "filter.around."),
        (r"stsc\.center_attention\.0\.", "filter.gate.squeeze."),
        (r"stsc\.center_attention\.2\.", "filter.gate.excite."),
        (r"stsc\.enhance\.0\.", "filter.enhance.first."),
        (r"stsc\.enhance\.2\.", "filter.enhance.second."),
        (r"ast\.base_threshold$", "threshold.base"),
        (r"ast\.stat_encoder\.2\.", "threshold.mean_squeeze."),
        (r"ast\.stat_encoder\.4\.", "threshold.mean_scale."),
        (r"ast\.spatial_mod\.0\.", "threshold.node_squeeze."),
        (r"ast\.spatial_mod\.2\.", "threshold.node_scale."),
        KERNEL,
    ),
    layouts={
        r"(step_size|gain|mixture|base)$": to_scalar,
        r"(mix\.\w+|enhance\.\w+|gate\.\w+|point|node_\w+)\.kernel$": to_pointwise,
    },
)
