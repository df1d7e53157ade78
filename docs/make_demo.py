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
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import hubconf  # noqa: E402
import utils  # noqa: E402
from recipes import MEAN, STD  # noqa: E402

PAGE, SOURCES = HERE / "index.html", HERE / "demo"
EXAMPLES = SOURCES / "examples.json"
SCRIPTS = ("network.js", "form.js", "drawing.js", "colours.js", "maps.js", "answer.js")
SCRIPTS += ("inside.js", "main.js")
READ, MISREAD = 4, 4  # how many examples of each kind


def trained_nets():
    """Return the networks of the page, on the CPU, in eval mode; the first is shown first."""
    net5 = hubconf.net5(pretrained=True)
    values = [v for name, v in net5.state_dict().items() if not name.endswith(".weights")]
    net4 = hubconf.net4()
    net4.load_state_dict(dict(zip(net4.state_dict(), values, strict=True)))
    return [net5, net4.eval()]


def export_net(net):
    """Return a network as JSON can hold it: name, parameters, layers, columns and weights.

    Each layer has its kind, output size and channels, and the input window that an output (y, x)
    depends on: `field` pixels a side, starting at (start + jump * y, start + jump * x). A column is
    what the page shows side by side: a convolution or pooling with its ReLU and BatchNorm. The
    weights are base64 of little-endian float32; layers refer to them by offset, so that a shared
    layer is stored once. Raises TypeError for a layer that the page cannot compute.
    """
    numbers, offsets = [], {}

    def stored(tensor):
        """Return the offset of a tensor among the numbers."""
        key = tensor.data_ptr(), tensor.numel()
        if key not in offsets:
            offsets[key] = len(numbers)
            numbers.extend(tensor.detach().flatten().tolist())
        return offsets[key]

    layers, columns = [], []
    start, jump, pad = 0, 1, 0
    for name, layer, (height, _, channels), field in utils.trace(net):
        kind = type(layer).__name__
        if kind in ("Dropout", "Identity"):
            continue
        if kind == "ZeroPad2d":  # becomes the padding of the convolution behind it
            pad = layer.padding[0]
            continue
        entry = {"channels": channels, "size": height, "field": field}
        if kind == "Conv2d":
            size, padding = layer.kernel_size[0], layer.padding[0] + pad
            entry |= {"kind": "conv", "kernel": size, "stride": layer.stride[0], "padding": padding}
            entry |= {"weight": stored(layer.weight), "bias": stored(layer.bias)}
            title = f"{size}×{size} convolution"
        elif kind == "BlurPool2d":
            entry |= {"kind": "blur", "kernel": 3, "stride": 2, "padding": 1}
            entry |= {"weight": stored(layer.weights[0])}  # the same for every channel
            title = "3×3 blur, every second pixel"
        elif kind == "MaxPool2d":
            size, stride = layer.kernel_size, layer.stride
            entry |= {"kind": "max", "kernel": size, "stride": stride, "padding": 0}
            title = f"largest of {size}×{size} pixels" + ", every second pixel" * (stride > 1)
        elif kind == "AdaptiveAvgPool2d":
            size = layers[-1]["size"]
            entry |= {"kind": "mean", "kernel": size, "stride": 1, "padding": 0}
            title = f"mean of {size}×{size} pixels"
        elif kind == "ReLU":
            entry |= {"kind": "relu"}
        elif kind == "BatchNorm2d":
            entry |= {"kind": "norm", "eps": layer.eps}
            entry |= {"mean": stored(layer.running_mean), "variance": stored(layer.running_var)}
            entry |= {"weight": stored(layer.weight), "bias": stored(layer.bias)}
        else:
            raise TypeError(f"expected layers that the page knows, got {name}: {layer}")
        if "kernel" in entry:
            start, jump, pad = start - entry["padding"] * jump, jump * entry["stride"], 0
            columns.append({"name": f"{entry['kind']} {entry['kernel']}×{entry['kernel']}"})
            columns[-1] |= {"title": title, "first": len(layers)}
        else:
            columns[-1]["title"] += ", " + type(layer).__name__.removesuffix("2d")
        columns[-1]["last"] = len(layers)
        layers.append(entry | {"start": start, "jump": jump})
    blob = torch.tensor(numbers, dtype=torch.float32).numpy().astype("<f4").tobytes()
    return {
        "name": type(net).__name__,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "columns": columns,
        "layers": layers,
        "weights": base64.b64encode(blob).decode(),
    }


def page():
    """Return the page, as text."""
    data = {
        "mean": MEAN[0],
        "std": STD[0],
        "examples": json.loads(EXAMPLES.read_text()),
        "networks": [export_net(net) for net in trained_nets()],
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
        test = utils.load_mnist(utils.find_mnist(source="full"), train=False, transform=None)
        chosen = choose_examples(trained_nets()[0], test.data, test.targets)
        EXAMPLES.write_text(json.dumps(chosen, indent=1) + "\n")
    text = page()
    PAGE.write_text(text, "utf-8", newline="\n")
    print(f"{PAGE}: {len(text.encode()):,} bytes")


if __name__ == "__main__":
    main()
