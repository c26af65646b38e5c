"""PyTorch side of the trainer bench: plain SGD steps (eager, float32, CPU) of four small models.

Two ways to use it:

* ``pytorch_steps.py --model lenet5 --seconds 5`` measures on its own: windows of steps for that long, then
  one JSON line with the median of the windows' steps/s.
* ``pytorch_steps.py --model lenet5 --serve`` prints one JSON line that describes the model, then reads lines
  ``run <steps>`` from stdin and answers each with ``{"seconds": …, "cpuSeconds": …, "steps": …, "loss": …}``, so
  that another process can interleave its own windows with these. ``cpuSeconds`` is the processor time of all
  threads: with ``--threads 1`` it is a figure that other load on the machine hardly moves. ``stats`` answers with the peak resident set so far;
  ``quit`` or the end of stdin ends it.

A step is what a training loop pays for: zero_grad, forward, loss, backward, SGD update. The batch is fixed and
already in memory; ``--fresh-batch`` copies it into the model's input tensors before each step. The gradient
buffers are dropped between steps (``set_to_none=True``, PyTorch's default and its fastest).
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional

LEARNING_RATE = 0.01


class Mlp(nn.Sequential):
    """784-200-10 with ReLU."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 10))


class LeNet5(nn.Sequential):
    """LeNet-5 with ReLU and max pooling, for 1×28×28 images."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, 10),
        )


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with BatchNorm and a shortcut, 1×1 where the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet8(nn.Sequential):
    """ResNet-8 for 3×32×32 images; BatchNorm uses stored statistics and trains its scale and shift."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            ResidualBlock(16, 16, 1),
            ResidualBlock(16, 32, 2),
            ResidualBlock(32, 64, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, 10),
        )


class TransformerBlock(nn.Module):
    """Pre-LayerNorm block: causal self-attention, then a feed-forward layer four times as wide."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal=True)
        x = x + self.projection(attended.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    """Decoder-only transformer with learned positions and the output layer tied to the token embedding."""

    def __init__(self, vocabulary: int = 512, width: int = 128, layers: int = 4, heads: int = 4, context: int = 128) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.apply(self._initialise)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        return functional.linear(self.norm(self.blocks(x)), self.tokens.weight)


def build(name: str, batch: int | None, tokens: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """The model with a fixed random batch: inputs, and class indices as targets."""
    if name in ("gpt", "gpt-wide"):
        rows = batch or 8
        ids = torch.randint(0, 512, (rows, tokens + 1))
        size = {"width": 512, "layers": 8, "heads": 8} if name == "gpt-wide" else {}
        return Gpt(context=max(tokens, 128), **size), ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    rows = batch or 32
    shape = {"mlp": (784,), "lenet5": (1, 28, 28), "resnet8": (3, 32, 32)}[name]
    model = {"mlp": Mlp, "lenet5": LeNet5, "resnet8": ResNet8}[name]()
    if name == "resnet8":
        model.eval()
    return model, torch.randn(rows, *shape), torch.randint(0, 10, (rows,))


class Stepper:
    def __init__(self, model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, fresh_batch: bool) -> None:
        self.model, self.inputs, self.targets = model, inputs, targets
        self.source = (inputs.clone(), targets.clone()) if fresh_batch else None
        self.optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
        self.loss = math.nan

    def run(self, steps: int) -> float:
        """Seconds that this many steps take."""
        start = time.perf_counter()
        loss = None
        for _ in range(steps):
            if self.source is not None:
                self.inputs.copy_(self.source[0])
                self.targets.copy_(self.source[1])
            self.optimizer.zero_grad(set_to_none=True)
            logits = self.model(self.inputs)
            loss = functional.cross_entropy(logits.flatten(0, -2), self.targets.flatten())
            loss.backward()
            self.optimizer.step()
        # Reading the loss waits for a device that works behind the host's back.
        if loss is not None:
            self.loss = loss.item()
        seconds = time.perf_counter() - start
        return seconds


def peak_rss_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, choices=["mlp", "lenet5", "resnet8", "gpt", "gpt-wide"])
    parser.add_argument("--batch", type=int, help="rows per step (32; gpt: 8)")
    parser.add_argument("--tokens", type=int, default=128, help="tokens per row, gpt only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--fresh-batch", action="store_true", help="copy the batch into the inputs before each step")
    parser.add_argument("--serve", action="store_true", help="answer 'run <steps>' lines on stdin")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    model, inputs, targets = build(arguments.model, arguments.batch, arguments.tokens)
    device = torch.device(arguments.device)
    stepper = Stepper(model.to(device), inputs.to(device), targets.to(device), arguments.fresh_batch)
    facts = {
        "framework": "pytorch",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "model": arguments.model,
        "inputShape": list(inputs.shape),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "optimiser": f"sgd {LEARNING_RATE}",
    }
    stepper.run(10)

    if arguments.serve:
        print(json.dumps({**facts, "ready": True}), flush=True)
        for line in sys.stdin:
            words = line.split()
            if words == ["quit"]:
                return
            if words == ["stats"]:
                answer: dict[str, object] = {"peakRssBytes": peak_rss_bytes()}
            elif len(words) == 2 and words[0] == "run" and words[1].isdigit() and int(words[1]) > 0:
                cpu_start = time.process_time()
                seconds = stepper.run(int(words[1]))
                answer = {"seconds": seconds, "cpuSeconds": time.process_time() - cpu_start, "steps": int(words[1]), "loss": stepper.loss}
            else:
                answer = {"error": f"expected 'run <steps>', 'stats' or 'quit', got {line.strip()!r}"}
            print(json.dumps(answer), flush=True)
        return

    steps = max(1, round(0.2 / (stepper.run(10) / 10)))
    windows: list[float] = []
    deadline = time.perf_counter() + arguments.seconds
    while not windows or time.perf_counter() < deadline:
        windows.append(steps / stepper.run(steps))
    print(
        json.dumps(
            {
                **facts,
                "stepsPerSecond": statistics.median(windows),
                "stepsPerSecondBest": max(windows),
                "windows": len(windows),
                "stepsPerWindow": steps,
                "peakRssBytes": peak_rss_bytes(),
                "loss": stepper.loss,
            }
        )
    )


if __name__ == "__main__":
    main()
