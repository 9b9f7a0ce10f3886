"""DISTA-Net and its ablations."""

from distax.interop.grokcso.original import (
    KERNEL,
    Arrays,
    Original,
    depthwise,
    numbered,
    pointwise,
    scalar,
    shape,
)


def _options(arrays: Arrays) -> dict[str, object]:
    return {
        "stages": max(numbered(arrays, r"(\d+)\."), 1),
        "channels": shape(arrays, "0.conv1_forward", 0),
        "hidden": shape(arrays, "0.w1.bias", 0),
    }


DISTA = Original(
    options=_options,
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
        r"step_size$": scalar,
        r"depthwise$": depthwise,
        r"(point_view|pointwise|merge)\.kernel$": pointwise,
    },
)
