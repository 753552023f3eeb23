"""Networks that a bundle's `network_def` may name beside MONAI's own, and what holds for all of them."""

import torch
from monai.networks.nets.efficientnet import EfficientNet, MBConvBlock
from torch import nn

LITE0_BLOCKS = (
    "r1_k3_s11_e1_i32_o16",
    "r2_k3_s22_e6_i16_o24",
    "r2_k5_s22_e6_i24_o40",
    "r3_k3_s22_e6_i40_o80",
    "r3_k5_s11_e6_i80_o112",
    "r4_k5_s22_e6_i112_o192",
    "r1_k3_s11_e6_i192_o320",
)


class EfficientNetLite0(EfficientNet):
    """EfficientNet-lite0: MONAI's EfficientNet without squeeze-excitation and with ReLU6 for swish.

    The stages are those of EfficientNet-B0 (Tan & Le 2019). Input [n, in_channels, image_size, image_size],
    output logits [n, num_classes].
    """

    def __init__(
        self,
        num_classes: int,
        image_size: int,
        in_channels: int = 1,
        dropout_rate: float = 0.3,
        drop_connect_rate: float = 0.1,
    ) -> None:
        super().__init__(
            blocks_args_str=list(LITE0_BLOCKS),
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=image_size,
            dropout_rate=dropout_rate,
            drop_connect_rate=drop_connect_rate,
        )
        self._swish = nn.ReLU6(inplace=True)
        for block in self.modules():
            if isinstance(block, MBConvBlock):
                block._swish = nn.ReLU6(inplace=True)  # noqa: SLF001 - MONAI has no setter for another activation
                _pad_inside(block)

    def maps(self, x: torch.Tensor, stage: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features after ``stage`` (0 to 6) and after the last convolution, both [n, channels, h, w]."""
        x = self._swish(self._bn0(self._conv_stem(self._conv_stem_padding(x))))
        stages = list(self._blocks)
        for block in stages[: stage + 1]:
            x = block(x)
        middle = x
        for block in stages[stage + 1 :]:
            x = block(x)
        return middle, self._swish(self._bn1(self._conv_head(self._conv_head_padding(x))))


def _pad_inside(block: MBConvBlock) -> None:
    """Let a stride-1 depthwise convolution pad by itself: the same numbers without a padded copy of the input."""
    convolution = block._depthwise_conv  # noqa: SLF001
    if convolution.stride == (1, 1):
        convolution.padding = tuple(size // 2 for size in convolution.kernel_size)
        block._depthwise_conv_padding = nn.Identity()  # noqa: SLF001


def last_linear(network: nn.Module) -> nn.Linear:
    """The fully connected layer that makes the logits (ValueError without one); what enters it are the pooled features."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError("the network has no fully connected layer.")
    return linear[-1]


def in_channels_last(network: nn.Module) -> nn.Module:
    """``network`` with its convolutions laid out channels last, which a CPU computes about twice as fast."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network
