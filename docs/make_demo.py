"""Write docs/index.html: the trained networks on one page that needs no server and no library.

    python docs/make_demo.py

The page is made of the readable sources in docs/demo/ and of the weights in weights/. Its layer
list comes from the networks themselves. Same input, same bytes. After new weights,
`--choose-examples` picks example digits anew from MNIST's 10,000 test images, among them some that
Net5 misreads.
"""

import argparse
import base64
import json
import struct
import sys
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import hubconf  # noqa: E402
from data import find_mnist, load_mnist  # noqa: E402
from layers import trace  # noqa: E402
from mnist_format import MEAN, STD  # noqa: E402

PAGE, SOURCES = HERE / "index.html", HERE / "demo"
EXAMPLES = SOURCES / "examples.json"
SCRIPTS = ("network.js", "mnist_format.js", "drawing.js", "colours.js", "maps.js", "answer.js")
SCRIPTS += ("inside.js", "looking.js", "several.js", "picture.js", "pen.js", "main.js")
READ, MISREAD = 4, 4  # how many examples of each kind
TIMES = "\N{MULTIPLICATION SIGN}"


def trained_nets():
    """Return the networks of the page by name, on the CPU, in eval mode, the first shown first."""
    return {
        "hands": hubconf.net5_hands(pretrained=True),
        "Net5": hubconf.net5(pretrained=True),
        "Net4": hubconf.net4(pretrained=True),
    }


class Numbers:
    """The numbers of a network, one after the other; layers refer to them by offset."""

    def __init__(self):
        self.numbers, self.offsets = [], {}

    def offset(self, tensor):
        """Return where a tensor begins; one that layers share is stored once."""
        key = tensor.data_ptr(), tensor.numel()
        if key not in self.offsets:
            self.offsets[key] = len(self.numbers)
            self.numbers.extend(tensor.detach().flatten().tolist())
        return self.offsets[key]

    def encoded(self):
        """Return base64 of little-endian float32."""
        return base64.b64encode(struct.pack(f"<{len(self.numbers)}f", *self.numbers)).decode()


def describe(layer, numbers, padding, size):
    """Return what the page computes a layer with, and the layer's title.

    `padding` is added to a convolution's own, `size` is the side of the layer's input in pixels.
    Raises TypeError for a layer that the page does not know.
    """

    def window(kind, kernel, stride, padding=0):
        return {"kind": kind, "kernel": kernel, "stride": stride, "padding": padding}

    match type(layer).__name__:
        case "Conv2d":
            kernel = layer.kernel_size[0]
            fields = window("conv", kernel, layer.stride[0], layer.padding[0] + padding)
            fields |= {"weight": numbers.offset(layer.weight), "bias": numbers.offset(layer.bias)}
            return fields, f"{kernel}{TIMES}{kernel} convolution"
        case "BlurPool2d":  # the same weights for every channel
            fields = window("blur", layer.kernel_size, layer.stride, layer.padding)
            title = f"{layer.kernel_size}{TIMES}{layer.kernel_size} blur with stride {layer.stride}"
            return fields | {"weight": numbers.offset(layer.weights[0])}, title
        case "MaxPool2d":
            kernel, stride = layer.kernel_size, layer.stride
            title = f"{kernel}{TIMES}{kernel} maximum with stride {stride}"
            return window("max", kernel, stride), title
        case "AdaptiveAvgPool2d":
            return window("mean", size, 1), f"mean of {size}{TIMES}{size} pixels"
        case "ReLU":
            return {"kind": "relu"}, "ReLU"
        case "BatchNorm2d":
            tensors = {"weight": layer.weight, "bias": layer.bias}
            tensors |= {"mean": layer.running_mean, "variance": layer.running_var}
            fields = {name: numbers.offset(tensor) for name, tensor in tensors.items()}
            return {"kind": "norm", "eps": layer.eps} | fields, "BatchNorm"
    raise TypeError(f"expected a layer that the page can compute, got {layer}")


def export_net(name, net):
    """Return a network as JSON can hold it: name, parameters, layers, columns and weights.

    Each layer has its output size and channels, and the input window that an output (y, x) depends
    on: `field` pixels a side, from pixel (start + jump * y, start + jump * x). A column is what the
    page shows as one: a convolution or pooling with the ReLU and the BatchNorm after it.
    """
    numbers, layers, columns = Numbers(), [], []
    start, jump, padding, size = 0, 1, 0, 28
    for _, layer, (height, _, channels), field in trace(net):
        if isinstance(layer, (nn.Dropout, nn.Identity)):
            continue
        if isinstance(layer, nn.ZeroPad2d):  # becomes padding of the convolution after it
            padding = layer.padding[0]
            continue
        fields, title = describe(layer, numbers, padding, size)
        if "kernel" in fields:
            start, jump = start - fields["padding"] * jump, jump * fields["stride"]
            head = f"{fields['kind']} {fields['kernel']}{TIMES}{fields['kernel']}"
            columns.append({"name": head, "title": title, "first": len(layers)})
            padding = 0
        else:
            columns[-1]["title"] += f", {title}"
        columns[-1]["last"] = len(layers)
        size = height
        fields |= {"channels": channels, "size": size, "field": field, "start": start}
        layers.append(fields | {"jump": jump})
    return {
        "name": name,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "columns": columns,
        "layers": layers,
        "weights": numbers.encoded(),
    }


def page():
    """Return the page, as text."""
    data = {
        "mean": MEAN[0],
        "std": STD[0],
        "examples": json.loads(EXAMPLES.read_text()),
        "networks": [export_net(name, net) for name, net in trained_nets().items()],
    }
    text = (SOURCES / "template.html").read_text("utf-8")
    parts = {
        "STYLE": (SOURCES / "style.css").read_text("utf-8"),
        "DATA": json.dumps(data, ensure_ascii=False, separators=(",", ":")),
        "SCRIPT": "\n".join((SOURCES / name).read_text("utf-8") for name in SCRIPTS),
    }
    for name, part in parts.items():
        text = text.replace(f"{{{{{name}}}}}", part.strip())
    return text


@torch.no_grad()
def choose_examples(net, images, labels):
    """Return examples, as JSON can hold them, from uint8 images (N, 28, 28) and labels (N,).

    The first images of different digits that the network misreads, and the first that it reads
    right of the other digits, by their label.
    """
    inputs = (images[:, None].float() / 255 - MEAN[0]) / STD[0]
    guesses = torch.cat([net(batch).argmax(dim=1) for batch in inputs.split(1000)])
    chosen = {}  # index by label
    for wanted, count in ((guesses != labels, MISREAD), (guesses == labels, MISREAD + READ)):
        for index in wanted.nonzero().flatten().tolist():
            if len(chosen) < count:
                chosen.setdefault(labels[index].item(), index)
    return [
        {
            "index": index,
            "label": label,
            "pixels": base64.b64encode(images[index].numpy().tobytes()).decode(),
        }
        for label, index in sorted(chosen.items())
    ]


def main(arguments=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write docs/index.html.")
    parser.add_argument(
        "--choose-examples", action="store_true", help="anew, from the full MNIST (see train.py)"
    )
    options = parser.parse_args(arguments)
    if options.choose_examples:
        test = load_mnist(find_mnist(source="full"), train=False, transform=None)
        chosen = choose_examples(next(iter(trained_nets().values())), test.data, test.targets)
        EXAMPLES.write_text(json.dumps(chosen, indent=1) + "\n")
    text = page()
    PAGE.write_text(text, "utf-8", newline="\n")
    print(f"{PAGE}: {len(text.encode()):,} bytes")


if __name__ == "__main__":
    main()
