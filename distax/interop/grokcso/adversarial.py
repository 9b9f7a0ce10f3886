"""Conversion of SRGAN, ESRGAN and BSRGAN, with or without the arrays of their discriminators."""

from distax.interop.grokcso.original import KERNEL, Arrays, Original, axis_length, count_numbers

_GENERATOR = (
    (r"^(?!discriminator\.)(generator\.)?", "generator."),
    (r"^generator\.conv_first\.", "generator.head."),
    (r"^generator\.conv_hr\.", "generator.refine."),
    (r"^generator\.conv_last\.", "generator.last."),
)
_VGG = (
    (r"^discriminator\.conv0_0\.", "discriminator.first."),
    *(
        (rf"\.{original}{place // 2}_{place % 2}\.", f".{name}.{place - 1}.")
        for original, name in (("conv", "convs"), ("bn", "norms"))
        for place in range(1, 10)
    ),
    (r"(norms\.\d+)\.weight$", r"\1.scale"),
    (r"running_", ""),
    (r"^discriminator\.linear1\.", "discriminator.hidden."),
    (r"^discriminator\.linear2\.", "discriminator.last."),
)
_UNET = (
    (r"^discriminator\.conv0\.", "discriminator.first."),
    *((rf"^discriminator\.conv{k + 1}\.", f"discriminator.down.{k}.") for k in range(3)),
    *((rf"^discriminator\.conv{k + 4}\.", f"discriminator.up.{k}.") for k in range(3)),
    *((rf"^discriminator\.conv{k + 7}\.", f"discriminator.refine.{k}.") for k in range(2)),
    (r"^discriminator\.conv9\.", "discriminator.last."),
    (r"weight_orig$", "kernel"),
    (r"weight_u$", "left"),
    (r"weight_v$", "right"),
)
# Features of photographs, and what the generator stores and does not use.
_UNUSED = (r"perceptual_loss\..*", r".*\.num_batches_tracked", r"(generator\.)?conv_up2\..*")


def _plain_names(arrays: Arrays) -> Arrays:
    """Returns the arrays with the generator's names alone."""
    return {name.removeprefix("generator."): array for name, array in arrays.items()}


def _discriminator(arrays: Arrays, first: str) -> dict[str, object]:
    """Reads the size of the discriminator; without its arrays the model has none."""
    name = f"discriminator.{first}.weight"
    if not any(key.startswith("discriminator.") for key in arrays):
        return {"adversarial_weight": 0.0}
    return {"discriminator_channels": axis_length(arrays, name, 0)}


def _srgan_options(arrays: Arrays) -> dict[str, object]:
    return {
        "channels": axis_length(_plain_names(arrays), "conv_first.weight", 0),
        "blocks": count_numbers(_plain_names(arrays), r"trunk_net\.(\d+)\."),
        **_discriminator(arrays, "conv0_0"),
    }


def _dense_options(arrays: Arrays) -> dict[str, object]:
    return {
        "channels": axis_length(_plain_names(arrays), "conv_first.weight", 0),
        "growth": axis_length(_plain_names(arrays), "body.0.rdb1.conv1.weight", 0),
        "blocks": count_numbers(_plain_names(arrays), r"body\.(\d+)\."),
    }


SRGAN = Original(
    options=_srgan_options,
    names=(
        *_GENERATOR,
        (r"^generator\.trunk_net\.(\d+)\.conv1\.", r"generator.blocks.\1.first."),
        (r"^generator\.trunk_net\.(\d+)\.conv2\.", r"generator.blocks.\1.second."),
        (r"^generator\.upsample1\.upsample_conv\.", "generator.upscale.conv."),
        *_VGG,
        KERNEL,
    ),
    unused=_UNUSED,
)

_DENSE = (
    *_GENERATOR,
    (r"^generator\.conv_body\.", "generator.trunk."),
    (r"^generator\.conv_up1\.", "generator.fine."),
    *((rf"\.rdb{k + 1}\.", f".parts.{k}.") for k in range(3)),
    *((rf"(parts\.\d)\.conv{k + 1}\.", rf"\1.layers.{k}.") for k in range(5)),
    (r"^generator\.body\.", "generator.blocks."),
)

ESRGAN = Original(
    options=lambda arrays: _dense_options(arrays) | _discriminator(arrays, "conv0_0"),
    names=(*_DENSE, *_VGG, KERNEL),
    unused=(*_UNUSED, r"discriminator\.linear2\.bias"),
)

BSRGAN = Original(
    options=lambda arrays: _dense_options(arrays) | _discriminator(arrays, "conv0"),
    names=(*_DENSE, *_UNET, KERNEL),
    unused=(*_UNUSED, r"discriminator\.conv9\.bias"),
)
