"""Conversion of networks with attention between tokens: DCTLSA and ACT."""

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

_NORM = (r"(norm\w*)\.weight$", r"\1.scale")


def _dctlsa_options(arrays: Arrays) -> dict[str, object]:
    return {"channels": axis_length(arrays, "fea_conv.bias", 0)}


DCTLSA = Original(
    options=_dctlsa_options,
    names=(
        (r"^fea_conv\.", "head."),
        *(
            (rf"^B{k + 1}\.body\.(\d)\.transformer_body\.0\.", rf"blocks.{k}.layers.\1.")
            for k in range(6)
        ),
        *((rf"^c{k + 1}\.0\.", f"mixtures.{k}.") for k in range(5)),
        (r"^c\.0\.", "mixtures.5."),
        (r"^LR_conv\.", "last."),
        (r"^upsampler\.0\.", "upscale.conv."),
        (r"patch_embed\.", ""),
        (r"(layers\.\d\.)blocks\.", r"\1layers."),
        (r"attn\.local\.", "local."),
        (r"pointwise_prenorm_0", "norm"),
        (r"pointwise_prenorm_1", "second_norm"),
        (r"running_", ""),
        (r"pointwise_conv_0", "first"),
        (r"pointwise_conv_1", "second"),
        (r"depthwise_conv", "depthwise"),
        (r"attn\.qkv", "attention.qkv"),
        (r"attn\.proj", "attention.out"),
        (r"mlp\.fc1", "feed_forward.first"),
        (r"mlp\.fc2", "feed_forward.second"),
        _NORM,
        KERNEL,
    ),
    unused=(r".*\.num_batches_tracked",),
    layouts={r"(local\.(first|second)|mixtures\.\d)\.kernel$": to_pointwise},
)


def _actnet_options(arrays: Arrays) -> dict[str, object]:
    channels = axis_length(arrays, "head.0.weight", 0)
    squeeze = "cnn_branch.0.body.0.body.3.conv_du.0.weight"
    return {
        "channels": channels,
        "blocks": count_numbers(arrays, r"cnn_branch\.0\.body\.(\d+)\.body\."),
        "reduction": channels // max(axis_length(arrays, squeeze, 0), 1),
    }


ACTNET = Original(
    options=_actnet_options,
    names=(
        HEAD,
        (r"^head\.1\.body\.", "head_blocks.0."),
        (r"^head\.2\.body\.", "head_blocks.1."),
        (r"^linear_encoding\.", "encoding."),
        (r"^mhsa_block\.(\d)\.0\.", r"transformers.\1.attention."),
        (r"^mhsa_block\.(\d)\.1\.", r"transformers.\1.feed_forward."),
        (r"^csta_block\.(\d)\.0\.", r"transformers.\1.compress."),
        (r"^csta_block\.(\d)\.1\.", r"transformers.\1.to_large."),
        (r"^csta_block\.(\d)\.2\.", r"transformers.\1.to_small."),
        (r"^csta_block\.(\d)\.3\.", r"transformers.\1.expand."),
        (r"^csta_block\.(\d)\.4\.", r"transformers.\1.last."),
        (r"^fusion_mlp\.(\d)\.", r"returns.\1.to_tokens."),
        (r"((compress|expand|to_tokens)\.)0\.", r"\1norm."),
        (r"((compress|expand|to_tokens)\.)1\.", r"\1layers.first."),
        (r"((compress|expand|to_tokens)\.)3\.", r"\1layers.second."),
        (r"fn\.net\.0\.", "layers.first."),
        (r"fn\.net\.3\.", "layers.second."),
        (r"norm2\.", "other_norm."),
        (r"fn\.to_qkv\.", "qkv."),
        (r"fn\.to_q\.", "queries."),
        (r"fn\.to_kv\.", "keys_values."),
        (r"fn\.to_out\.0\.", "out."),
        (r"^cnn_branch\.(\d)\.body\.(\d+)\.body\.", r"groups.\1.blocks.\2."),
        (r"^cnn_branch\.(\d)\.body\.\d+\.", r"groups.\1.last."),
        (r"^fusion_block\.(\d)\.(\d)\.body\.", r"fusions.\1.blocks.\2."),
        (r"^fusion_cnn\.(\d)\.", r"returns.\1."),
        (r"(blocks\.\d+\.|returns\.\d\.)0\.", r"\1first."),
        (r"(blocks\.\d+\.|returns\.\d\.)2\.", r"\1second."),
        (r"3\.(?=conv_du)", "gate."),
        *GATE,
        (r"^conv_last\.", "last."),
        *TAIL,
        _NORM,
        KERNEL,
    ),
    unused=(r"cnn_branch\.\d\.(weight|bias)",),
    layouts={r"gate\.(squeeze|excite)\.kernel$": to_pointwise},
)
