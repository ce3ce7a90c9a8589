"""Our noise predictor against MONAI's DiffusionModelUNet: seconds a patch on this machine's CPU.

    python Testing/benchmarks/network.py

Both at the paper's patch (32 × 96 × 96) with base 32 and 64; medians of several runs. What matters: the
encoder, which is all that features need, and one training step (forward and backward of the whole network).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from DiffSegLungLib.model.network import Architecture, NoiseUNet

PATCH = (32, 96, 96)
RUNS = 3


def seconds(work: Callable[[], object]) -> float:
    """Median wall time of some work, after one run to warm up."""
    work()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def monai_network(base: int) -> nn.Module:
    """The paper's network as MONAI builds it: multipliers 1-2-3-4, attention at the bottleneck."""
    from monai.networks.nets import DiffusionModelUNet

    return DiffusionModelUNet(
        spatial_dims=3,
        in_channels=2,
        out_channels=1,
        channels=tuple(base * m for m in (1, 2, 3, 4)),
        attention_levels=(False, False, False, True),
        num_res_blocks=1,
        num_head_channels=base,
    )


def monai_features(network: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    """Encoder and middle block of MONAI's network."""
    from monai.networks.nets.diffusion_model_unet import get_timestep_embedding

    embedding = network.time_embed(get_timestep_embedding(t, network.block_out_channels[0]))
    h = network.conv_in(x)
    for block in network.down_blocks:
        h, _ = block(hidden_states=h, temb=embedding, context=None)
    return network.middle_block(hidden_states=h, temb=embedding, context=None)


def measure(name: str, network: nn.Module, encode: Callable[[Tensor, Tensor], Tensor], bf16: bool) -> None:
    """Print one row: encoder, whole forward, training step."""
    x, t = torch.randn(1, 2, *PATCH), torch.tensor([50])
    context = torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16)

    def step() -> None:
        with context:
            out = network(x, t)
        (out[0] if isinstance(out, tuple) else out).float().abs().mean().backward()

    with torch.no_grad(), context:
        encoder = seconds(lambda: encode(x, t))
        whole = seconds(lambda: network(x, t))
    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    precision = "bf16" if bf16 else "fp32"
    print(
        f"| {name} | {precision} | {parameters:.1f} | {encoder:.2f} | {whole:.2f} | {seconds(step):.2f} |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    print(f"{torch.get_num_threads()} threads, patch {PATCH}, batch 1, seconds, median of {RUNS}\n")
    print("| network | precision | parameters, M | encoder + middle | whole forward | training step |")
    print("|---|---|---|---|---|---|")
    for base in (32, 64):
        for bf16 in (False, True):
            theirs = monai_network(base)
            measure(f"MONAI, base {base}", theirs, lambda x, t, n=theirs: monai_features(n, x, t), bf16)
            ours = NoiseUNet(Architecture(base=base))
            measure(f"ours, base {base}", ours, ours.encode, bf16)


if __name__ == "__main__":
    main()
