"""CLIP training beside plain ``transformers``, ``sentence-transformers`` and ``open_clip``: pairs a second, memory.

One checkpoint, one set of photos and captions, one batch size; every contestant in a process of its own, windows taken
in turn so that all meet the same noise. Two rates each: the whole way from encoded photo to updated weights as each
library goes it, and the step alone on tensors that are ready.

    pip install sentence-transformers open_clip_torch    # peers; one that is missing is skipped and named
    python benchmarks/bench_tower_training.py            # photos: --data, else the generated world
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image as PillowImage
from rich.console import Console
from rich.table import Table
from small_clip import (
    HEADS,
    LAYERS,
    MEAN,
    PATCH,
    PIXELS,
    POSITIONS,
    SPACE,
    STD,
    WIDTH,
    made_on,
    matmul_rate,
    median,
    parser_for,
    texts_of,
    write_checkpoint,
    write_photos,
)
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.auto.tokenization_auto import AutoTokenizer
from transformers.models.clip import CLIPImageProcessor
from transformers.models.clip.modeling_clip import CLIPModel

from recsys.ahead import one_ahead
from recsys.data.captions import Captions
from recsys.data.dataset import Dataset
from recsys.encoders.text import TextConfig
from recsys.towers.clip import ClipConfig, ClipTower
from recsys.training.contrast import ContrastConfig
from recsys.training.optimizer import OptimizerConfig, make_optimizer
from recsys.training.prepared import PreparedItems
from recsys.training.step import TrainingStep
from recsys.training.trainer import TrainerConfig

BATCH, PHOTOS, EPOCHS, READY = 64, 512, 10, 2
OPTIMIZER = OptimizerConfig(learning_rate=1e-4, warmup_steps=0, largest_norm=10.0)
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "convolution", "attention")
RESULTS = Path(__file__).parent / "results" / "tower_training.json"


class Contestant(Protocol):
    """Learns from batches, by their number."""

    def learn(self, batch: Any) -> float: ...

    def ready(self, number: int) -> Any:
        """A batch as tensors."""
        ...

    def batches(self, numbers: Sequence[int]) -> Iterator[Any]:
        """The same, as they are made while training."""
        ...


class Pairs:
    """Photos as they are stored, and their captions."""

    def __init__(self, folder: Path) -> None:
        self.data = Dataset(folder / "photos")
        self.texts = texts_of(self.data)
        self.photos = self.data.covers(range(len(self.texts)))

    def rows(self, number: int) -> np.ndarray:
        return (np.arange(BATCH) + BATCH * number) % len(self.texts)

    def at(self, number: int) -> tuple[list[PillowImage.Image], list[str]]:
        rows = self.rows(number)
        opened = [PillowImage.open(io.BytesIO(self.photos[row] or b"")).convert("RGB") for row in rows]
        return opened, [self.texts[row] for row in rows]


class Ours:
    """This project: photos are decoded once, kept as uint8, cut and mirrored at each step in a thread."""

    def __init__(self, folder: Path, precision: torch.dtype, config: ClipConfig | None = None) -> None:
        self.pairs, self.work = Pairs(folder), Path(tempfile.mkdtemp(dir=folder))
        config = config or ClipConfig(checkpoint=folder / "clip", text=TextConfig(max_tokens=POSITIONS))
        self.tower = ClipTower.create(config, self.pairs.texts)
        contrast = ContrastConfig(views={"image-text": 1.0}, behaviour={})
        optimizer = make_optimizer(self.tower, OPTIMIZER)
        self.step = TrainingStep(self.tower, optimizer, contrast, OPTIMIZER, None, precision, None)
        self.prepare()

    def prepare(self) -> None:
        scratch = self.work / "pixels.npy"
        scratch.unlink(missing_ok=True)
        none = Captions.of(self.pairs.data, np.empty(0, np.int32))
        self.items = PreparedItems.prepare(self.pairs.data, self.tower, scratch, self.work / "cache", none)

    def learn(self, batch: Any) -> float:
        items, same = batch
        return self.step(items, same, None, None, {})["loss"]

    def ready(self, number: int) -> Any:
        return self.items.batch(self.pairs.rows(number), slice(None), 0, number, 10**9, 0.0, TrainerConfig().crop)

    def batches(self, numbers: Sequence[int]) -> Iterator[Any]:
        return one_ahead(self.ready, numbers)


class Peer(ABC):
    """A loop in which a batch is made when it is due."""

    precision: torch.dtype

    @abstractmethod
    def ready(self, number: int) -> Any:
        """The batch of a step, as the model takes it."""

    def batches(self, numbers: Sequence[int]) -> Iterator[Any]:
        return map(self.ready, numbers)

    def start(self, model: nn.Module, precision: torch.dtype) -> None:
        self.model, self.precision = model.train(), precision
        matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
        others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.05, fused=True)

    def update(self, loss: Tensor) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), OPTIMIZER.largest_norm)
        self.optimizer.step()
        return loss.item()

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", self.precision, enabled=self.precision != torch.float32)


class PlainTransformers(Peer):
    """``CLIPModel`` with its processor at each step, padded to the longest text of the batch."""

    def __init__(self, folder: Path, precision: torch.dtype) -> None:
        self.pairs = Pairs(folder)
        self.images = CLIPImageProcessor.from_pretrained(folder / "clip")
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "clip")
        self.start(CLIPModel.from_pretrained(folder / "clip", dtype=torch.float32), precision)

    def ready(self, number: int) -> Any:
        photos, texts = self.pairs.at(number)
        words = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        return {**words, "pixel_values": self.images(photos, return_tensors="pt")["pixel_values"]}

    def learn(self, batch: Any) -> float:
        with self.autocast():
            loss = self.model(**batch, return_loss=True).loss
        return self.update(loss)


class SentenceTransformers(Peer):
    """Its CLIP module with MultipleNegativesRankingLoss in both directions, which is CLIP's loss."""

    def __init__(self, folder: Path, precision: torch.dtype) -> None:
        library = importlib.import_module("sentence_transformers")
        modules = importlib.import_module("sentence_transformers.sentence_transformer.modules")
        losses = importlib.import_module("sentence_transformers.sentence_transformer.losses")
        self.pairs = Pairs(folder)
        model = library.SentenceTransformer(modules=[modules.CLIPModel(str(folder / "clip"))], device="cpu")
        self.loss = losses.MultipleNegativesRankingLoss(
            model, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
        )
        self.start(model, precision)

    def ready(self, number: int) -> Any:
        photos, texts = self.pairs.at(number)
        return [self.model.preprocess(photos), self.model.preprocess(texts)]  # type: ignore[operator]

    def learn(self, batch: Any) -> float:
        with self.autocast():
            loss = self.loss([dict(side) for side in batch], None)
        return self.update(loss)


class OpenClip(Peer):
    """A model of the same shape; its transforms, and texts padded to the model's length as its tokenizers do."""

    def __init__(self, folder: Path, precision: torch.dtype) -> None:
        library = importlib.import_module("open_clip")
        self.pairs = Pairs(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "clip")
        vision = {"layers": LAYERS, "width": WIDTH, "head_width": WIDTH // HEADS, "patch_size": PATCH}
        text = {"layers": LAYERS, "width": WIDTH, "heads": HEADS, "context_length": POSITIONS}
        model = library.model.CLIP(
            SPACE,
            library.model.CLIPVisionCfg(image_size=PIXELS, **vision),
            library.model.CLIPTextCfg(vocab_size=len(self.tokenizer), **text),
            quick_gelu=True,
        )
        self.transform = library.image_transform(PIXELS, is_train=False, mean=tuple(MEAN), std=tuple(STD))
        self.loss = library.ClipLoss()
        self.start(model, precision)

    def ready(self, number: int) -> Any:
        photos, texts = self.pairs.at(number)
        words = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
        return torch.stack([self.transform(photo) for photo in photos]), words

    def learn(self, batch: Any) -> float:
        with self.autocast():
            loss = self.loss(*self.model(*batch))
        return self.update(loss)


CONTESTANTS: Mapping[str, tuple[Callable[[Path, torch.dtype], Contestant], torch.dtype]] = {
    "ours": (Ours, torch.float32),
    "transformers": (PlainTransformers, torch.float32),
    "sentence-transformers": (SentenceTransformers, torch.float32),
    "open_clip": (OpenClip, torch.float32),
    "ours, bfloat16": (Ours, torch.bfloat16),
    "transformers, bfloat16": (PlainTransformers, torch.bfloat16),
}


class Worker:
    """A contestant in a process of its own, asked for one window at a time."""

    def __init__(self, name: str, folder: Path) -> None:
        waiting = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", name, "--folder", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **waiting},
        )
        self.refusal: str | None = self.ask("hello").get("refusal")

    def ask(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        return dict(json.loads(answer)) if answer else {"refusal": "the process ended"}

    def close(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def work(name: str, folder: Path) -> None:
    """The loop of a worker: a command a line, an answer in JSON a line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    torch.manual_seed(0)
    make, precision = CONTESTANTS[name]
    try:
        contestant = make(folder, precision)
    except Exception as error:  # a peer that is missing or does not load here: its reason is the result
        answers.write(json.dumps({"refusal": f"{type(error).__name__}: {error}"}) + "\n")
        answers.close()
        return
    ready = [contestant.ready(number) for number in range(READY)]
    done = 0
    for line in sys.stdin:
        command, _, count = line.strip().partition(" ")
        numbers = range(done, done + int(count or 0))
        done += len(numbers)
        if command == "step":
            answer = timed(partial(learn, contestant, (ready[number % READY] for number in numbers)))
        elif command == "whole":
            answer = timed(partial(learn, contestant, contestant.batches(numbers)))
        elif command == "prepare":
            answer = timed(contestant.prepare) if isinstance(contestant, Ours) else {}
        elif command == "work":
            answer = where_time_goes(contestant, ready)
        else:
            answer = {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def learn(contestant: Contestant, batches: Iterable[Any]) -> None:
    for batch in batches:
        contestant.learn(batch)


def timed(act: Callable[[], object]) -> dict[str, float]:
    started = time.perf_counter(), time.process_time()
    act()
    return {"seconds": time.perf_counter() - started[0], "cpu_seconds": time.process_time() - started[1]}


def where_time_goes(contestant: Contestant, ready: Sequence[Any]) -> dict[str, Any]:
    """Floating-point operations a pair, and the share of a step's time by kind of operator."""
    with FlopCounterMode(display=False) as counter:
        contestant.learn(ready[0])
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for batch in ready:
            contestant.learn(batch)
    spent = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    whole = sum(spent.values())
    products = sum(value for name, value in spent.items() if any(part in name for part in PRODUCTS))
    first = sorted(spent, key=lambda name: -spent[name])[:8]
    return {
        "gflop_per_pair": counter.get_total_flops() / BATCH / 1e9,
        "share_in_products": products / whole,
        "share_by_operator": {name: spent[name] / whole for name in first},
    }


def race(folder: Path, rounds: int, steps: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Figures of every contestant, and why others are missing."""
    workers = {name: Worker(name, folder) for name in CONTESTANTS}
    missing = {name: worker.refusal for name, worker in workers.items() if worker.refusal is not None}
    running = {name: worker for name, worker in workers.items() if name not in missing}
    windows: dict[str, dict[str, list[dict[str, float]]]] = {
        name: {"step": [], "whole": [], "prepare": []} for name in running
    }
    for kind in ("step", "whole", "prepare"):
        for number in range(rounds + 1):  # the first one warms up
            for name, worker in running.items():
                window = worker.ask(f"{kind} {steps}" if kind != "prepare" else kind)
                if number and window:
                    windows[name][kind].append(window)
    figures: dict[str, Any] = {}
    for name, worker in running.items():
        peak = worker.ask("memory")["peak_mb"]
        figures[name] = {**figures_of(windows[name], steps * BATCH), "peak_mb": peak, **worker.ask("work")}
    for worker in workers.values():
        worker.close()
    return figures, missing


def figures_of(windows: Mapping[str, Sequence[Mapping[str, float]]], pairs: int) -> dict[str, Any]:
    """Pairs a second, by the clock and by CPU time; preparing once is shared out over the epochs."""
    found: dict[str, Any] = {}
    for measure, name in (("seconds", "per_second"), ("cpu_seconds", "per_cpu_second")):
        step = median([window[measure] for window in windows["step"]]) / pairs
        whole = median([window[measure] for window in windows["whole"]]) / pairs
        once = median([window[measure] for window in windows["prepare"]]) / PHOTOS if windows["prepare"] else 0.0
        found[f"step_pairs_{name}"] = 1 / step
        found[f"whole_pairs_{name}"] = 1 / (whole + once / EPOCHS)
        found[f"whole_first_epoch_pairs_{name}"] = 1 / (whole + once)
        found[f"prepare_{measure}_per_photo"] = once
    return found


def add_ratios(figures: dict[str, Any]) -> None:
    """To the best of the peers of the same precision."""
    for name, mine in figures.items():
        half = name.endswith("bfloat16")
        peers = [of for other, of in figures.items() if "ours" not in other and other.endswith("bfloat16") == half]
        for measure in [key for key in mine if "pairs_per" in key]:
            mine[f"ratio_{measure}"] = mine[measure] / max(peer[measure] for peer in peers)


def show(figures: Mapping[str, Any], missing: Mapping[str, str], limit: float) -> None:
    columns = {
        "whole pairs/s": "whole_pairs_per_second",
        "first epoch": "whole_first_epoch_pairs_per_second",
        "step pairs/s": "step_pairs_per_second",
        "step pairs/CPU s": "step_pairs_per_cpu_second",
    }
    table = Table(
        title=f"CLIP {WIDTH} x {LAYERS} + {LAYERS}, batch {BATCH}; x = times the best peer, by clock / by CPU"
    )
    for column in ("", *columns, "peak MB", "GFLOP/pair", "in products", "GFLOP/s"):
        table.add_column(column)
    for name, of in figures.items():
        cells = [f"{of[key]:,.1f}  x {of[f'ratio_{key}']:.2f}" for key in columns.values()]
        rate = of["gflop_per_pair"] * of["step_pairs_per_second"]
        rest = (f"{of['peak_mb']:,.0f}", f"{of['gflop_per_pair']:.2f}", f"{of['share_in_products']:.0%}", f"{rate:.0f}")
        table.add_row(name, *cells, *rest)
    console = Console(width=200)
    console.print(table)
    for name, reason in missing.items():
        console.print(f"{name}: not measured here: {reason}")
    console.print(f"a product of two 2,048 x 2,048 matrices reaches {limit:.0f} GFLOP/s in float32 on these threads")


def main() -> None:
    parser = parser_for(__doc__ or "", RESULTS, rounds=5)
    parser.add_argument("--steps", type=int, default=2, help="a window")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
        work(arguments.worker, arguments.folder)
        return
    os.environ["BENCH_THREADS"] = str(arguments.threads)
    torch.set_num_threads(arguments.threads)
    libraries = ("torch", "transformers", "sentence-transformers", "open_clip_torch", "torchvision", "pillow")
    results = {
        **made_on(libraries),
        "batch": BATCH,
        "windows": arguments.rounds,
        "epochs_that_share_the_preparing": EPOCHS,
        "matmul_gflops_float32": matmul_rate(),
        "matmul_gflops_bfloat16": matmul_rate(torch.bfloat16),
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        results["photos"] = write_photos(folder / "photos", PHOTOS, arguments.data)
        write_checkpoint(folder / "clip", texts_of(Dataset(folder / "photos")))
        figures, results["not_measured"] = race(folder, arguments.rounds, arguments.steps)
        results["matmul_gflops_float32"] = max(results["matmul_gflops_float32"], matmul_rate())
        add_ratios(figures)
        results["contestants"] = figures
        show(figures, results["not_measured"], results["matmul_gflops_float32"])
    write(results, arguments.results)


def write(results: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
