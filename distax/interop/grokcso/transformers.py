"""Conversion of networks with attention between tokens: DCTLSA, ACT and HiT-SNG."""

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
    unchanged,
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


def _hit_sng_options(arrays: Arrays) -> dict[str, object]:
    block = r"layers\.0\.residual_group\.blocks\.(\d+)\."
    context = "correlation.ngram_window_partition.ngram_context."

    def in_block(index: int, name: str) -> str:
        return f"layers.0.residual_group.blocks.{index}.{context}{name}"

    return {
        "channels": axis_length(arrays, "conv_first.weight", 0),
        "layers": count_numbers(arrays, r"layers\.(\d+)\."),
        "windows": tuple(
            axis_length(arrays, in_block(index, "unigram_embed.weight"), 2)
            for index in range(count_numbers(arrays, block))
        ),
        "heads": axis_length(arrays, in_block(0, "ngram_attn.relative_position_bias_table"), 1),
    }


HIT_SNG = Original(
    options=_hit_sng_options,
    names=(
        (r"^norm\.", "last_norm."),
        (r"^conv_first\.", "head."),
        (r"^patch_embed\.norm\.", "first_norm."),
        (r"^conv_after_body\.", "last."),
        (r"^upsample\.0\.", "upscale.conv."),
        (r"^(layers\.\d+)\.conv\.", r"\1.last."),
        (r"residual_group\.", ""),
        (r"norm1\.", "correlation_norm."),
        (r"norm2\.", "feed_forward_norm."),
        (r"mlp\.fc1\.", "feed_forward.first."),
        (r"mlp\.fc2\.", "feed_forward.second."),
        (r"qv\.conv\.0\.", "features.first."),
        (r"qv\.conv\.2\.", "features.middle."),
        (r"qv\.conv\.4\.", "features.last."),
        (r"qv\.linear\.", "features.features."),
        (r"correlation\.proj\.", "correlation.out."),
        (r"spatial_linear\.", "reduce."),
        (r"pos\.pos_proj\.", "position.first."),
        *((rf"pos\.pos{k + 1}\.0\.weight$", f"position.norms.{k}.scale") for k in range(3)),
        *((rf"pos\.pos{k + 1}\.0\.", f"position.norms.{k}.") for k in range(3)),
        *((rf"pos\.pos{k + 1}\.2\.", f"position.layers.{k}.") for k in range(3)),
        (r"ngram_window_partition\.ngram_context\.", "context."),
        (r"unigram_embed\.weight$", "unigram"),
        (r"unigram_embed\.bias$", "unigram_bias"),
        (r"ngram_attn\.relative_position_bias_table$", "attention.offsets"),
        (r"ngram_attn\.qkv\.", "attention.qkv."),
        (r"ngram_attn\.proj\.", "attention.out."),
        _NORM,
        KERNEL,
    ),
    unused=(r".*\.relative_position_index",),
    layouts={
        r"offsets$": unchanged,
        r"(features\.(features|first|last)|merge)\.kernel$": to_pointwise,
    },
)
